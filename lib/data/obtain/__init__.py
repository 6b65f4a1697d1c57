"""How a collection gets onto the disk: registry, download, unpacking, checks, assembly from lists of addresses."""
