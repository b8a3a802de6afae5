"""Short reviews with their labels (1 is positive), written for this example."""

from __future__ import annotations

Review = tuple[str, int]

SEED = "Classify the sentiment of the review as positive or negative."
TASK = "An instruction for a small language model that has to tell whether a short review is positive or negative."

SEARCH: list[Review] = [
    ("A joy from the first minute to the last.", 1),
    ("I want those two hours of my life back.", 0),
    ("Funny, warm and beautifully shot.", 1),
    ("The plot makes no sense and the acting is worse.", 0),
    ("Not bad at all; I would watch it again.", 1),
    ("Nothing works here, least of all the jokes.", 0),
    ("Best meal I have had in years.", 1),
    ("The soup was cold and the waiter rude.", 0),
    ("Exactly what I needed, and it arrived early.", 1),
    ("It broke after two days.", 0),
    ("You will leave with a smile.", 1),
    ("I expected little and got even less.", 0),
    ("She has never sung better.", 1),
    ("A waste of a talented cast.", 0),
    ("My children ask for it every evening.", 1),
    ("The room smelled of smoke and the bed was broken.", 0),
    ("Even the slow parts are a pleasure.", 1),
    ("I fell asleep twice and missed nothing.", 0),
    ("Sturdy, quiet and worth every cent.", 1),
    ("The manual is useless and nobody answers the phone.", 0),
]

HELD_OUT: list[Review] = [
    ("I laughed until I cried.", 1),
    ("The ending ruins everything that came before.", 0),
    ("Friendly staff, spotless rooms, a perfect view.", 1),
    ("They sent the wrong size and kept my money.", 0),
    ("A small film with a big heart.", 1),
    ("Loud, long and pointless.", 0),
    ("I could not put it down.", 1),
    ("The battery is dead before noon.", 0),
    ("It does what it says, and does it well.", 1),
    ("Two stars, and that is generous.", 0),
    ("We are already planning our next visit.", 1),
    ("The bread was stale and the fish dry.", 0),
]
