"""Parts of all tables: the names of constraints, the type of times, columns for times."""

from sqlalchemy import Column, DateTime, MetaData, func

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    }
)

TIMESTAMPTZ = DateTime(timezone=True)


def created_at_column() -> Column[object]:
    """Create the column for the time when a row was inserted."""
    return Column("created_at", TIMESTAMPTZ, nullable=False, server_default=func.now())


def updated_at_column() -> Column[object]:
    """Create the column for the time when a row was last changed."""
    return Column("updated_at", TIMESTAMPTZ, nullable=False, server_default=func.now())
