#!/bin/sh
# Makes the role and the database of Adrelay when the data directory is made, once.
set -eu
psql --set ON_ERROR_STOP=1 --set password="$DATABASE_PASSWORD" --username postgres <<'SQL'
create role adrelay login password :'password';
create database adrelay owner adrelay;
SQL
# pg_basebackup connects over the network of the containers.
echo "host replication postgres all scram-sha-256" >>"$PGDATA/pg_hba.conf"
