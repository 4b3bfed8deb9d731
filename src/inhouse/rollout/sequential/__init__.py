"""Tests that stay valid however often one looks at them. Pure.

An outcome is Z in [0, 1], 1 being bad, of the arm that its unit was assigned to while the
candidate's weight was w. Every class takes outcomes one by one in their order of arrival. What it
has learned before an outcome is all that it uses to bet on it. So its wealth does not grow on
average while the claim under test is true, and by Ville's inequality it ever exceeds 1/a with a
probability of at most a. One class is one claim:

    harm      Harm, BoundedHarm   "the candidate is not worse", also since an unknown moment
    safety    Safety              "the candidate is worse by the margin or more"
    limits    Limit               "the candidate's mean is at the limit or above it"
    paired    PairedHarm, PairedSafety   the first two, where both answered the same input
    mismatch  Mismatch            "units fall to the arms as the weights say"

``latency`` turns a duration into an outcome, ``running`` holds what was seen so far.

References: Turner, Ly, Gruenwald 2024 (arXiv 2106.02693) and Lindon, Malek 2022 (2011.03567) for
harm; Shin, Ramdas, Rinaldo 2022 (2203.03532) for harm that begins later; Waudby-Smith, Ramdas 2024
(2010.09686) for betting and Waudby-Smith et al. 2022 (2210.10768) for the weights.
"""
