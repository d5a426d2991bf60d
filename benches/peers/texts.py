"""Texts written for the measurements: reviews of 11, 12, 40 and 120 words, and eight of about 128 tokens."""

FORTY = (
    "This is the kind of film that makes you remember why you go to the cinema at all, because every scene is careful "
    "and warm, the actors never push too hard, and the ending is truly earned and very kind"
)
SECOND = (
    "although the middle hour drags more than it should and the score is sometimes far too loud for so quiet a story, "
    "I would not call it a wasted evening, since the two leads carry even the weakest lines with grace"
)
THIRD = (
    "and the camera lingers on their faces just long enough to let us guess what they will not say aloud, which is "
    "rare in a season full of noisy sequels that explain each joke twice and trust nobody at all these days"
)
# Without commas, so that both sides see the same words.
FORTY, SECOND, THIRD = (text.replace(",", "") for text in (FORTY, SECOND, THIRD))
FOURTH = (
    "the plot is thin and the jokes are older than the cast but somewhere in the second act a stubborn charm takes over "
    "and by the last song even the grumpiest man in the back row was quietly humming along with it"
)
# Six of each length, since the number of steps that a text needs varies.
TWELVE = (
    "a gripping and funny film with a cast that never once disappoints",
    "the story drags badly and no amount of pretty scenery can save it",
    "what begins as a cheap thriller slowly becomes a rather moving family portrait",
    "i wanted to like it but the dialogue is wooden from the start",
    "a small quiet film that says more in silence than most say aloud",
    "loud empty and far too long this sequel wastes a very good idea",
)
TEXTS = {
    11: "a gripping and funny film with a cast that never disappoints",
    12: "a gripping and funny film with a cast that never once disappoints",
    40: FORTY,
    120: " ".join(f"{FORTY} {SECOND} {THIRD}".split()[:120]),
}


def several(words):
    """Six texts of 12, 40 or 120 words."""
    if words == 12:
        return list(TWELVE)
    parts = [FORTY, SECOND, THIRD, FOURTH]
    orders = [(0, 1, 2), (1, 2, 3), (2, 3, 0), (3, 0, 1), (1, 3, 0), (3, 2, 1)]
    chosen = [" ".join(" ".join(parts[part] for part in order).split()) for order in orders]
    return [" ".join(text.split()[:words]) for text in chosen]


def long_texts(tokenizer, count=8, tokens=128):
    """Texts cut so that each has `tokens` tokens with its specials."""
    words = f"{FORTY} {SECOND} {THIRD}".split()
    texts = []
    for start in range(count):
        rotated = (words[start * 7 :] + words[: start * 7]) * 2
        length = next(n for n in range(len(rotated), 0, -1) if len(tokenizer(" ".join(rotated[:n])).input_ids) <= tokens)
        texts.append(" ".join(rotated[:length]))
    return texts
