"""The verbs of the command `sdpn`, one file each."""
