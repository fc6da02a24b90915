"""ASL on labels taken as they are, with one thing changed: fewer images, the best epoch, or mixed images."""

from galc.methods.base import method

MIXUP = 4.0  # chosen on held-out gold images: docs/method.md, "Other methods"

method("silver-only", "Silver only", "ASL on the noisy images alone: step 1's f.", data="silver", look=("#c9a227", "p"))
method(
    "asl-gold-stop",
    "ASL, early stopping",
    "ASL on S ∪ G but for a fifth of G, on which the best epoch is chosen.",
    data="all",
    gold_stop=True,
    look=("#f28e6b", "h"),
)
method(
    "asl-mixup",
    "ASL + mixup",
    "ASL on S ∪ G, images and labels mixed in pairs, with dropout as everywhere.",
    data="all",
    mixup=MIXUP,
    look=("#ff5e5e", "*"),
)
