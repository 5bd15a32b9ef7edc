"""Hosts within reach. One file a way of reaching them; a leading underscore marks what several ways share.

`ssh` is the only importer of paramiko; `netlink` speaks to the kernel through pyroute2; `local` is this machine or one
of its namespaces. Every target answers the same questions and performs the same actions (`chaos.contracts`).
"""
