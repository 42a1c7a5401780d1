"""Bad input, hostile input, full disks and kills, through every way in."""
