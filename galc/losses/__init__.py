"""The losses: ASL with its calibration, forward corrections, and the losses of other papers."""
