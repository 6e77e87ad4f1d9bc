"""Local services for `costledger demo`, `costledger up` and the tests: broker, PostgreSQL, Redis."""

from .apache_kafka import ApacheKafka
from .embedded_broker import EmbeddedBroker
from .errors import ProgramMissing, ServiceFailed, StackError
from .kafka_jars import KAFKA_VERSION, apache_kafka_available
from .postgres import Postgres
from .redis import RedisServer
from .service import Service
from .stack import BrokerChoice, BrokerKind, Stack

__all__ = [
    "KAFKA_VERSION",
    "ApacheKafka",
    "BrokerChoice",
    "BrokerKind",
    "EmbeddedBroker",
    "Postgres",
    "ProgramMissing",
    "RedisServer",
    "Service",
    "ServiceFailed",
    "Stack",
    "StackError",
    "apache_kafka_available",
]
