"""What everything is compared with: labels taken as they are, on all images, or on the clean ones alone."""

from galc.methods.base import ASL, BCE, method

method(
    "asl",
    "ASL",
    data="all",
    loss=ASL,
    look=("#d55e00", "o"),
    about="Asymmetric loss on S ∪ G, labels taken as they are.",
)

method(
    "asl-no-dropout",
    "ASL without dropout",
    data="all",
    loss=ASL,
    dropout=False,
    look=("#e69f00", "v"),
    about="The same, without the dropout all others have.",
)

method(
    "bce",
    "BCE",
    data="all",
    loss=BCE,
    look=("#cc79a7", "s"),
    about="Binary cross-entropy on S ∪ G.",
)

method(
    "bce-everything",
    "BCE + single-label",
    data="everything",
    loss=BCE,
    look=("#882255", "D"),
    about="Binary cross-entropy on S ∪ G and the single-label images.",
)

method(
    "gold-only",
    "Clean: gold",
    data="gold",
    loss=ASL,
    look=("#a3a3a3", "x"),
    about="ASL on the trusted images alone.",
)

method(
    "clean-only",
    "Clean: gold + single-label",
    data="clean",
    loss=ASL,
    look=("#6b6b6b", "X"),
    about="ASL on all clean images: gold and single-label.",
)
