"""What a host application calls: results are typed, nothing is printed, and the host's own process neither trains nor holds a lock for long."""

from luna.host.age import AgeUp, age_up

__all__ = ["AgeUp", "age_up"]
