"""The methods of the study, and the losses and labels that they train with."""
