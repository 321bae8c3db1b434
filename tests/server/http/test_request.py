"""Heads and bodies of requests, compared with what Go's net/http said to the same bytes."""

from itertools import pairwise

import pytest
from hypothesis import example, given, strategies as st

from pushgate.server.http.request import (
    Chunked,
    Counted,
    MalformedBody,
    MalformedRequest,
    RequestHead,
    parse_head,
)

LINE = b"PUT /metrics/job/j HTTP/1.1\r\n"
HEAD = LINE + b"Host: g\r\n"


def refusal(head: bytes) -> tuple[int, str]:
    """The status and the text with which *head* is refused."""
    with pytest.raises(MalformedRequest) as caught:
        parse_head(head)
    answer = caught.value.response
    wire = answer.wire((), keep_alive=False)
    assert b"\r\nconnection: close\r\n" in wire
    return answer.status, wire.partition(b"\r\n\r\n")[2].decode()


def header(head: RequestHead, name: bytes) -> list[bytes]:
    return [value for other, value in head.headers if other == name]


def test_a_head_is_split_into_its_parts():
    head = parse_head(
        b"PUT /a%20b?x=1 HTTP/1.1\r\nHost: g\r\nX-A:  b c \t\r\nContent-Length: 4\r\n"
    )
    assert (head.method, head.path, head.query, head.length) == ("PUT", b"/a%20b", b"x=1", 4)
    assert head.headers == [(b"host", b"g"), (b"x-a", b"b c"), (b"content-length", b"4")]
    assert (head.keep_alive, head.expects_continue, head.is_http_1_0) == (True, False, False)


@pytest.mark.parametrize(
    "head",
    [
        HEAD.replace(b"\r\n", b"\n"),
        HEAD.replace(b"1.1", b"1.7"),
        HEAD + b"Content-Length: " + b"0" * 5000 + b"4\r\n",
        HEAD + b"Content-Length: 999999999999999999\r\n",
        HEAD + b"X: \xff\r\n",
        HEAD + b"X:\r\n",
        LINE.replace(b"PUT", b"push") + b"Host: g\r\n",
        LINE.replace(b"1.1", b"1.0"),
    ],
)
def test_a_head_that_go_takes_is_taken(head):
    assert parse_head(head).path == b"/metrics/job/j"


BAD_REQUEST = (400, "400 Bad Request")


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (b"nonsense\r\n", BAD_REQUEST),
        (b"GET  / HTTP/1.1\r\nHost: g\r\n", BAD_REQUEST),
        (b"GET / HTTP/1.1 \r\nHost: g\r\n", BAD_REQUEST),
        (b"GET /%zz HTTP/1.1\r\nHost: g\r\n", BAD_REQUEST),
        (b"GET /a\x7f HTTP/1.1\r\nHost: g\r\n", BAD_REQUEST),
        (HEAD + b"nocolon\r\n", BAD_REQUEST),
        (HEAD + b": a\r\n", BAD_REQUEST),
        (HEAD + b"X: a\rb\r\n", BAD_REQUEST),
        (HEAD + b"X: a\0b\r\n", BAD_REQUEST),
        (LINE + b" Host: g\r\n", BAD_REQUEST),
        (HEAD + b"Host: h\r\n", BAD_REQUEST),
        (HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n", BAD_REQUEST),
        (HEAD + b"Content-Length: +4\r\n", BAD_REQUEST),
        (HEAD + b"Content-Length: 4 4\r\n", BAD_REQUEST),
        (HEAD + b"Content-Length: \xc2\xb2\r\n", BAD_REQUEST),
        (HEAD + b"Content-Length: \r\n", BAD_REQUEST),
        (LINE, (400, "400 Bad Request: missing required Host header")),
        (LINE + b"Host: a b\r\n", (400, "400 Bad Request: malformed Host header")),
        (HEAD + b"Transfer-Encoding: gzip\r\n", (501, "Unsupported transfer encoding")),
        (HEAD + b"Transfer-Encoding: chunked\r\n" * 2, (501, "Unsupported transfer encoding")),
        (HEAD + b"Transfer-Encoding: chunked, chunked\r\n", (501, "Unsupported transfer encoding")),
        (HEAD + b"Expect: something\r\n", (417, "")),
        (b"GET http://g:x/ HTTP/1.1\r\nHost: g\r\n", BAD_REQUEST),
        (b"GET http://[::1/ HTTP/1.1\r\nHost: g\r\n", BAD_REQUEST),
        (b"GET http://%67/ HTTP/1.1\r\nHost: g\r\n", BAD_REQUEST),
        (
            HEAD.replace(b"1.1", b"0.9"),
            (505, "505 HTTP Version Not Supported: unsupported protocol version"),
        ),
        (b"PRI * HTTP/2.0\r\n", BAD_REQUEST),
    ],
)
def test_a_head_that_go_refuses_is_refused_in_its_words(head, said):
    assert refusal(head) == said


@pytest.mark.parametrize(
    "head",
    [
        HEAD + b"X: folded\r\n line\r\n",
        HEAD + b"Content-Length: 4\r\nContent-Length: 4\r\n",
        HEAD + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        HEAD + b"X : a\r\n",
        LINE.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n",
        HEAD.replace(b"/metrics", b"metrics"),
    ],
)
def test_a_head_that_others_may_read_differently_is_refused(head):
    assert refusal(head) == BAD_REQUEST


@pytest.mark.parametrize(("lines", "status"), [(999, None), (1000, 431)])
def test_a_head_has_a_limit_of_lines(lines, status):
    head = HEAD + b"X: y\r\n" * lines
    assert (refusal(head)[0] if status else None) == status
    assert status or parse_head(head)


@pytest.mark.parametrize("length", [300, 301])
def test_a_host_has_a_limit(length):
    host, fits = b"h" * length, length == 300
    head, absolute = LINE + b"Host: %b\r\n" % host, b"GET http://%b/ HTTP/1.1\r\nHost: g\r\n" % host
    assert fits or refusal(head) == (400, "400 Bad Request: malformed Host header")
    assert fits or refusal(absolute) == BAD_REQUEST
    assert not fits or (parse_head(head) and parse_head(absolute))


@pytest.mark.parametrize("path", [b"x" * (128 << 10), b"\xff" * (43 << 10), b"#" * (43 << 10)])
def test_a_target_has_a_limit_as_it_is_percent_encoded(path):
    assert refusal(b"GET /" + path + b" HTTP/1.1\r\nHost: g\r\n")[0] == 414


@pytest.mark.parametrize(
    ("fields", "version", "keeps"),
    [
        (b"", b"1.1", True),
        (b"Connection: close\r\n", b"1.1", False),
        (b"Connection: TE, Close\r\n", b"1.1", False),
        (b"Connection: keep-alive\r\nConnection: close\r\n", b"1.1", False),
        (b"", b"1.0", False),
        (b"Connection: Keep-Alive\r\n", b"1.0", True),
    ],
)
def test_the_version_and_the_header_say_whether_a_connection_is_kept(fields, version, keeps):
    head = parse_head(HEAD.replace(b"1.1", version) + fields)
    assert head.keep_alive is keeps


@pytest.mark.parametrize(
    ("target", "path", "query", "host"),
    [
        (b"/a?b?c", b"/a", b"b?c", b"g"),
        (b"//a", b"//a", b"", b"g"),
        (b"/\xc3\xbc#x", b"/%C3%BC%23x", b"", b"g"),
        (b"http://other:1/a?b", b"/a", b"b", b"other:1"),
        (b"HTTP://other", b"/", b"", b"other"),
        (b"http://[::1]:9/a", b"/a", b"", b"[::1]:9"),
        (b"http://user@other/a", b"/a", b"", b"other"),
        (b"*", b"*", b"", b"g"),
    ],
)
def test_a_target_has_a_path_and_may_name_the_host(target, path, query, host):
    head = parse_head(b"GET " + target + b" HTTP/1.1\r\nHost: g\r\n")
    assert (head.path, head.query, header(head, b"host")) == (path, query, [host])


@pytest.mark.parametrize(
    "value", [b"100-continue", b"100-Continue", b"100-continue, x", b"x 100-continue"]
)
def test_a_client_may_expect_more_than_to_continue(value):
    assert parse_head(HEAD + b"Content-Length: 4\r\nExpect: %b\r\n" % value).expects_continue


@given(st.binary(max_size=300) | st.binary(max_size=200).map(lambda more: HEAD + more))
def test_any_bytes_are_a_head_or_refused(data):
    try:
        head = parse_head(data)
    except MalformedRequest:
        return
    assert head.path.isascii()
    assert head.length is None or head.length >= 0
    assert all(name == name.lower() and b"\n" not in value for name, value in head.headers)


# --- Bodies --------------------------------------------------------------------------------------


def cut_out(framing: Chunked | Counted, *parts: bytes) -> tuple[bytes, bytes | None]:
    """The content in *parts*, and what follows the body."""
    content = b""
    for index, part in enumerate(parts):
        piece, rest = framing.cut(part)
        content += piece
        if rest is not None:
            return content, rest + b"".join(parts[index + 1 :])
    return content, None


CHUNKS = [
    (b"4\r\nm 1\n\r\n0\r\n\r\nrest", b"m 1\n", b"rest"),
    (b"4 \t\r\nm 1\n\r\n0\r\n\r\n", b"m 1\n", b""),
    (b"4;name=value\r\nm 1\n\r\n000\r\n\r\n", b"m 1\n", b""),
    (b"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", b"0123456789" * 2, b""),
    (b"0\r\nX: y\r\nZ: \r\n\r\nrest", b"", b"rest"),
]


@pytest.mark.parametrize(("data", "content", "rest"), CHUNKS)
def test_chunks_are_the_same_wherever_they_are_cut(data, content, rest):
    for position in range(len(data)):
        assert cut_out(Chunked(), data[:position], data[position:]) == (content, rest)
    assert cut_out(Chunked(), *(bytes([byte]) for byte in data)) == (content, rest)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"zz\r\n", "invalid byte in chunk length"),
        (b"-4\r\n", "invalid byte in chunk length"),
        (b"4\t;x=y\r\n", "invalid byte in chunk length"),
        (b"0x4\r\n", "invalid byte in chunk length"),
        (b"\r\n", "empty hex number for chunk length"),
        (b"4\nm 1\n", "chunked line ends with bare LF"),
        (b"4;a\rb\r\n", "invalid CR in chunked line"),
        (b"1;%b\r\n#\r\n" % (b"a" * 999) * 17, "chunked encoding contains too much non-data"),
        (b"0000000000000001\r\n#\r\n" * 8193, "chunked encoding contains too much non-data"),
        (b"4\r\nm 1\n\n", "malformed chunked encoding"),
        (b"4\r\nm 1\nx\r\n", "malformed chunked encoding"),
        (b"0" * 16 + b"4\r\n", "http chunk length too large"),
        (b"4" + b" " * 5000 + b"\r\n", "header line too long"),
        (b"4" + b" " * 5000, "header line too long"),
        (b"0\r\n\n", "malformed MIME header line in the trailer"),
        (b"0\r\nbroken\r\n\r\n", "malformed MIME header line in the trailer"),
        (b"0\r\n" + b"X: y\r\n" * 3000, "http: suspiciously long trailer after chunked body"),
    ],
)
def test_broken_chunks_are_named_in_the_words_of_go(data, reason):
    for parts in ([data], [bytes([byte]) for byte in data]):
        with pytest.raises(MalformedBody) as caught:
            cut_out(Chunked(), *parts)
        assert str(caught.value) == reason


@given(
    pieces=st.lists(st.binary(min_size=1, max_size=40), max_size=5),
    cuts=st.lists(st.integers(0, 300)),
    rest=st.binary(max_size=5),
)
@example(pieces=[b"x"], cuts=[3, 4, 5], rest=b"")
def test_what_was_sent_in_chunks_arrives(pieces, cuts, rest):
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    data = chunks + b"0\r\n\r\n" + rest
    bounds = [0, *sorted(cuts), max(300, len(data))]
    parts = [data[a:b] for a, b in pairwise(bounds)]
    assert cut_out(Chunked(), *parts) == (b"".join(pieces), rest)


def test_much_content_makes_up_for_long_lines():
    chunks = b"1;%b\r\n#\r\n" % (b"a" * 999) * 16 + b"4000\r\n%b\r\n" % (b"#" * 0x4000)

    content, rest = cut_out(Chunked(), chunks * 3 + b"0\r\n\r\n")

    assert (len(content), rest) == (3 * (16 + 0x4000), b"")


def test_a_counted_body_ends_where_its_head_says():
    assert cut_out(Counted(4), b"m", b" 1\nrest") == (b"m 1\n", b"rest")
    assert cut_out(Counted(4), b"m 1") == (b"m 1", None)
