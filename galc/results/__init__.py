"""What the numbers say: runs in groups, tests, tables, and sentences that are computed, never written by hand.

    groups, significance, matrices   what they are made of
    tables                           for a notebook, as a Styler
    about_...                        sentences: each function takes plain tables or arrays, returns a Finding

Nothing here draws: figures are in `galc.plots`.
"""
