from scripts.benchmarks.chat_server import CHUNKS, PARTS


def test_a_stream_is_chunks_that_frame_what_they_hold_and_then_its_end() -> None:
    head, _, body = b"".join(PARTS).partition(b"\r\n\r\n")
    assert b"Transfer-Encoding: chunked" in head
    events = []
    while body:
        size, _, rest = body.partition(b"\r\n")
        data, body = rest[: int(size, 16)], rest[int(size, 16) + 2 :]
        events.append(data)
    assert [event.count(b'"content":" word"') for event in events] == [1] * CHUNKS + [0]
    assert events[-2].endswith(b'"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n')
    assert events[-1] == b""
