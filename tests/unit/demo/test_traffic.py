"""What is asked of curl and what is read from it."""

from ipaddress import IPv4Address

import pytest

from pentaflow.demo.traffic import curl_command, first_failure, parse_request, parse_requests

ANSWERED = "0\t200\t10.0.0.1\t40002\t1\t1.1 n2\tw3\n"
REFUSED = "7\t000\t\t0\t0\t\t\n"


def test_an_answered_request() -> None:
    request = parse_request(ANSWERED)
    assert request.ok
    assert request.maybe_client == IPv4Address("10.0.0.1")
    assert (request.client_port, request.node, request.server) == (40002, "n2", "w3")


def test_a_refused_connection_is_a_failure() -> None:
    request = parse_request(REFUSED)
    assert not request.ok
    assert request.maybe_client is None
    assert request.exit_code == 7


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("28\t000\t10.0.0.1\t40002\t1\t\t\n", "timed out"),
        ("0\t502\t10.0.0.1\t40002\t1\t1.1 n2\t\n", "not status 200"),
        ("0\t200\t10.0.0.1\t40002\t0\t1.1 n2\tw1\n", "reused a connection"),
        ("56\t200\t10.0.0.1\t40002\t1\t1.1 n2\tw1\n", "reset in the body"),
    ],
)
def test_what_is_not_a_success(line: str, why: str) -> None:
    assert not parse_request(line).ok, why


@pytest.mark.parametrize(
    ("via", "node"), [("1.1 n1", "n1"), ("1.0 cache, 1.1 n3", "n3"), ("", ""), ("1.1", ""), ("HTTP/1.1 n1 (x)", "n1")]
)
def test_the_node_is_the_last_hop_of_via(via: str, node: str) -> None:
    assert parse_request(f"0\t200\t10.0.0.1\t1\t1\t{via}\tw1\n").node == node


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("", "has 1 fields; expected 7"),
        ("0\t200", "has 2 fields; expected 7"),
        (ANSWERED.replace("10.0.0.1", "nowhere"), "'nowhere'"),
        ("a" + ANSWERED, "'a0'"),
    ],
)
def test_what_is_not_a_line_of_curl_is_refused(line: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        parse_request(line)


def test_first_failure_says_how_many_and_what() -> None:
    requests = parse_requests(ANSWERED + REFUSED + REFUSED)
    assert first_failure(requests) == (
        "2 of 3 requests failed, the first with curl exit code 7, HTTP status 0, 0 connections"
    )
    assert first_failure(parse_requests(ANSWERED)) == ""


def test_every_request_is_asked_for_on_a_connection_of_its_own() -> None:
    command = curl_command("https://www.pentaflow.test/x", count=150)
    assert command[-1] == "https://www.pentaflow.test/x/[1-150]"
    assert "Connection: close" in command
    assert "--no-sessionid" in command
    assert "--rate" not in command


def test_pace_and_cookies_are_asked_for() -> None:
    command = curl_command("https://a", count=1, rate_per_s=10, maybe_cookies="jar")
    assert command[command.index("--rate") + 1] == "10/s"
    assert command[command.index("--cookie") + 1] == "jar"
    assert "--cookie-jar" in curl_command("https://a", count=1, maybe_cookies="jar", save_cookies=True)
