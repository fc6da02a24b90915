"""What everything is compared with: labels taken as they are, on all images, or on the clean ones alone."""

from galc.methods.base import BCE, method

method("asl", "ASL", "Asymmetric loss on S ∪ G, labels taken as they are.", data="all", look=("#d55e00", "o"))
method(
    "asl-no-dropout",
    "ASL without dropout",
    "The same, without the dropout all others have.",
    data="all",
    dropout=False,
    look=("#e69f00", "v"),
)
method("bce", "BCE", "Binary cross-entropy on S ∪ G.", data="all", loss=BCE, look=("#cc79a7", "s"))
method(
    "bce-everything",
    "BCE + single-label",
    "Binary cross-entropy on S ∪ G and the single-label images.",
    data="everything",
    loss=BCE,
    look=("#882255", "D"),
)
method("gold-only", "Clean: gold", "ASL on the trusted images alone.", data="gold", look=("#a3a3a3", "x"))
method(
    "clean-only",
    "Clean: gold + single-label",
    "ASL on all clean images: gold and single-label.",
    data="clean",
    look=("#6b6b6b", "X"),
)
