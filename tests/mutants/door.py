"""Bugs at the door for webhooks: who is believed, what counts as a repetition, when it is answered."""

from .saboteur import ORDER, ORDER_TESTS, Edit, Saboteur

DOOR = (
    Saboteur(
        "answer-before-commit",
        "a platform is told 200 for what a crash then loses",
        Edit(
            f"{ORDER}/intake/routes.py",
            "fresh = await self._gather.submit(incoming, len(raw))",
            "fresh = bool(asyncio.create_task(self._gather.submit(incoming, len(raw))))",
        ),
        (f"{ORDER_TESTS}/test_answer_after_commit.py::test_no_answer_while_the_delivery_is_not_committed",),
    ),
    Saboteur(
        "signature-skipped",
        "anybody may write orders",
        Edit(
            f"{ORDER}/intake/routes.py",
            "return secrets[adapter.verify(raw, headers, [secret.text for secret in secrets], at)]",
            "return secrets[0]",
        ),
        (f"{ORDER_TESTS}/test_webhooks.py::test_one_altered_byte_is_refused_and_stores_nothing[shopify]",),
    ),
    Saboteur(
        "signature-over-other-bytes",
        "what is verified is not what came but what was made of it",
        Edit(
            f"{ORDER}/platforms/shopify.py",
            'return signed_by([given], [secret.encode("utf-8", "surrogatepass") for secret in secrets], raw)',
            'body = __import__("json").dumps(__import__("json").loads(raw)).encode()\n'
            '        return signed_by([given], [secret.encode("utf-8", "surrogatepass") for secret in secrets], body)',
        ),
        (
            f"{ORDER_TESTS}/platforms/test_raw_bytes.py::test_one_writing_of_a_document_does_not_sign_another[0-shopify]",
        ),
    ),
    Saboteur(
        "signature-by-its-beginning",
        "a quarter of a signature is as good as the whole",
        Edit(
            f"{ORDER}/platforms/signing.py",
            "hmac.compare_digest(one, digest)",
            "hmac.compare_digest(one[:8], digest[:8])",
        ),
        (
            f"{ORDER_TESTS}/platforms/test_signatures.py::test_any_change_of_the_signature_is_refused[shopify]",
        ),
    ),
    Saboteur(
        "signature-by-equality",
        "the time of the answer tells how much of a guess was right",
        Edit(f"{ORDER}/platforms/signing.py", "hmac.compare_digest(one, digest)", "one == digest"),
        ("tests/test_house.py::test_secrets_are_compared_in_constant_time",),
    ),
    Saboteur(
        "replay-window-open",
        "a recorded request is good for ever",
        Edit(f"{ORDER}/platforms/generic.py", "        _check_time(stamp.decode(), now)\n", ""),
        (f"{ORDER_TESTS}/test_webhooks.py::test_the_generic_signature_holds_for_five_minutes[310-401]",),
    ),
    Saboteur(
        "dedupe-by-unsigned-header",
        "a header that nobody signed decides what counts as a repetition",
        Edit(
            f"{ORDER}/platforms/shopify.py",
            "return Message(topic, content_key(topic, raw), message_id)",
            'return Message(topic, content_key(topic, (message_id or "").encode() or raw), message_id)',
        ),
        (
            f"{ORDER_TESTS}/platforms/test_signatures.py"
            "::test_the_dedupe_key_follows_topic_and_body_and_never_an_unsigned_id",
        ),
    ),
    Saboteur(
        "claim-without-lock",
        "two drains take the same deliveries",
        Edit(f"{ORDER}/intake/store.py", "limit $1 for update skip locked", "limit $1"),
        (f"{ORDER_TESTS}/test_intake.py::test_a_claim_stops_at_its_bytes_and_leaves_the_rest_to_the_next",),
    ),
)
