"""What goes wrong on real machines, done on purpose: kills, bit flips, full disks, two of everything at once."""
