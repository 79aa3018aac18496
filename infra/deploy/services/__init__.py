"""RabbitMQ, Postgres, Redis and Prometheus for one checkout: one server in each file.

They are private: own ports, own data, own passwords, loopback only. What was started here
is ended here, by its process id; nothing else on the machine is touched.
"""
