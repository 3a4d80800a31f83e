"""The former names of three functions of auth.access."""

from auth import access

record = access.record_owner
may_see = access.may_see
forget_gone = access.remove_unused_owners
