"""ASL on labels taken as they are, with one thing changed: fewer images, the best epoch, or mixed images."""

from galc.methods.base import ASL, method

MIXUP = 4.0  # chosen on held-out gold images: docs/method.md, "Other methods"

method(
    "silver-only",
    "Silver only",
    data="silver",
    loss=ASL,
    look=("#c9a227", "p"),
    about="ASL on the noisy images alone: step 1's f.",
)

method(
    "asl-gold-stop",
    "ASL, early stopping",
    data="all",
    loss=ASL,
    gold_stop=True,
    look=("#f28e6b", "h"),
    about="ASL on S ∪ G but for a fifth of G, on which the best epoch is chosen.",
)

method(
    "asl-mixup",
    "ASL + mixup",
    data="all",
    loss=ASL,
    mixup=MIXUP,
    look=("#ff5e5e", "*"),
    about="ASL on S ∪ G, images and labels mixed in pairs, with dropout as everywhere.",
)
