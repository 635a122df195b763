"""Kinds of what is wrong with audio; see `sdpn.reasons.Reason`."""

CUT_OFF = "cut off"
NOT_AUDIO = "not readable as audio"
NO_SAMPLES = "there are no samples in it"
NOT_REGULAR = "not a regular file"
NO_FFMPEG = "ffmpeg is not installed"
DAMAGED = "damaged"
