"""Channels against real servers: what arrives, and what is said when it does not."""

from __future__ import annotations

import hmac
import json
import ssl
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from inhouse.cli.main import app as cli
from inhouse.core.errors import Invalid
from inhouse.notify.base import DeliveredInPart, NotDelivered, Notice
from inhouse.notify.channels import open_channels
from inhouse.notify.mail import EmailChannel
from inhouse.notify.webhook import PAUSES_S, SIGNATURE, WebhookChannel
from inhouse.settings import ChannelSettings, NotifySettings
from inhouse.testing.smtp_server import SmtpServer
from inhouse.testing.webhook_server import Answer, WebhookServer

AT = datetime(2026, 1, 31, 9, tzinfo=UTC)
NOTICE = Notice(
    id="n1",
    status="raised",
    code="breaker-open",
    about="local/a",
    level="bad",
    title="local/a is\nleft alone — ü",
    text="5 failures in a row.",
    since=AT,
    at=AT,
    source="host-1",
)


def posting(server: WebhookServer, pauses: list[float], **more: float | str) -> WebhookChannel:
    return WebhookChannel(server.url, pause=pauses.append, **more)  # type: ignore[arg-type]


def test_a_webhook_gets_signed_json() -> None:
    with WebhookServer() as server:
        posting(server, [], secret="s3cret").send(NOTICE)
        (got,) = server.deliveries
    assert got.path == "/hook?room=1"
    assert got.json == NOTICE.as_json()
    assert got.json["runbook"] == "docs/runbooks/breaker-open.md"
    digest = hmac.new(b"s3cret", got.body, "sha256").hexdigest()
    assert got.headers[SIGNATURE] == f"sha256={digest}"
    assert got.headers["content-type"] == "application/json"


@pytest.mark.parametrize("answers", [[500, "drop"], ["drop", 429], [503, 500]])
def test_a_webhook_that_fails_twice_is_asked_three_times(answers: list[Answer]) -> None:
    pauses: list[float] = []
    with WebhookServer(answers) as server:
        posting(server, pauses).send(NOTICE)
        assert [got.json["id"] for got in server.deliveries] == ["n1"] * 3
        assert SIGNATURE not in server.deliveries[0].headers
    assert pauses == list(PAUSES_S)


@pytest.mark.parametrize(
    ("answers", "tries", "said"),
    [
        ([500] * 3, 3, "it answered 500 (3 tries)"),
        (["drop"] * 3, 3, "(3 tries)"),
        ([404], 1, "it answered 404"),
        ([302], 1, "it answered 302"),
    ],
)
def test_a_webhook_that_fails_says_why(answers: list[Answer], tries: int, said: str) -> None:
    with WebhookServer(answers) as server:
        with pytest.raises(NotDelivered) as caught:
            posting(server, []).send(NOTICE)
        assert len(server.deliveries) == tries
        assert said in caught.value.message
        assert "room=1" not in caught.value.message, "addresses hold secrets"


def test_a_webhook_that_hangs_and_one_that_is_not_there() -> None:
    with WebhookServer(["hang"] * 3) as server:
        with pytest.raises(NotDelivered, match=r"timed out \(3 tries\)"):
            posting(server, [], timeout_s=0.05).send(NOTICE)
        server.wait_for(3)
    with pytest.raises(NotDelivered, match="refused"):
        posting(server, []).send(NOTICE)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Of the server, and of a client that trusts it."""
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=test", "-addext"]
    command += ["subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl: not installed")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    return server, ssl.create_default_context(cafile=certificate)


@pytest.mark.parametrize("mode", ["starttls", "tls"])
def test_mail_over_tls_with_a_login(mode: str, tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    users = [("ops", "s3cret")]
    with SmtpServer(tls=tls[0], mode=mode, users=users) as server:  # type: ignore[arg-type]
        EmailChannel(
            host="127.0.0.1",
            port=server.port,
            tls=mode,  # type: ignore[arg-type]
            user="ops",
            password="s3cret",
            sender="inhouse@example.org",
            to=["a@example.org", "b@example.org"],
            context=tls[1],
        ).send(NOTICE)
        (mail,) = server.mails
    assert (mail.user, mail.encrypted) == ("ops", True)
    assert mail.sender == "inhouse@example.org"
    assert mail.recipients == ["a@example.org", "b@example.org"]
    assert mail.message["Subject"] == "[inhouse] bad: local/a is left alone — ü"
    body = mail.message.get_content()
    assert "5 failures in a row." in body
    assert "docs/runbooks/breaker-open.md" in body


def mail_to(server: SmtpServer, **more: object) -> EmailChannel:
    fields = {"tls": "none", "sender": "i@example.org", "to": ["a@example.org", "b@example.org"]}
    return EmailChannel(host="127.0.0.1", port=server.port, **{**fields, **more})  # type: ignore[arg-type]


def test_mail_that_is_not_taken_says_why(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    with SmtpServer(refuses=["b@example.org"]) as server:
        with pytest.raises(DeliveredInPart, match=r"refused b@example\.org"):
            mail_to(server).send(NOTICE)
        assert [mail.recipients for mail in server.mails] == [["a@example.org"]]
        with pytest.raises(NotDelivered, match=r"refused b@example\.org"):
            mail_to(server, to=["b@example.org"]).send(NOTICE)
        with pytest.raises(NotDelivered, match="STARTTLS"):
            mail_to(server, tls="starttls").send(NOTICE)
    with SmtpServer(tls=tls[0], users=[("ops", "right")]) as server:
        with pytest.raises(NotDelivered, match="certificate"):
            mail_to(server, tls="starttls").send(NOTICE)
        wrong = {"tls": "starttls", "context": tls[1], "user": "ops", "password": "wrong"}
        with pytest.raises(NotDelivered, match="535") as caught:
            mail_to(server, **wrong).send(NOTICE)
        assert "wrong" not in caught.value.message
        assert server.mails == []
    with pytest.raises(NotDelivered, match="refused"):
        mail_to(server).send(NOTICE)


def test_mail_that_was_taken_is_delivered_however_the_server_says_goodbye() -> None:
    with SmtpServer(farewell="421 too busy") as server:
        mail_to(server).send(NOTICE)
        assert len(server.mails) == 1


def channel(**fields: object) -> NotifySettings:
    return NotifySettings(channels={"ops": ChannelSettings(**fields)})  # type: ignore[arg-type]


def test_without_a_channel_the_log_hears(caplog: pytest.LogCaptureFixture) -> None:
    assert list(open_channels(NotifySettings())) == ["log"]
    open_channels(NotifySettings())["log"].send(NOTICE)
    (line,) = caplog.records
    assert (line.levelname, line.message) == ("ERROR", "alert raised")
    assert vars(line)["values"]["code"] == "breaker-open"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_apprise_reaches_its_services() -> None:
    pytest.importorskip("apprise")
    with WebhookServer([204, 500]) as server:
        url = server.url.replace("http://", "json://").partition("?")[0]
        opened = open_channels(channel(kind="apprise", url=url))["ops"]
        opened.send(NOTICE)
        assert server.deliveries[0].json["title"] == NOTICE.subject
        assert "5 failures" in server.deliveries[0].json["message"]
        with pytest.raises(NotDelivered):
            opened.send(NOTICE)
    with pytest.raises(Invalid, match="does not understand"):
        open_channels(channel(kind="apprise", url="nonsense-secret"))


def test_apprise_is_asked_for_when_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "apprise", None)
    monkeypatch.delitem(__import__("sys").modules, "inhouse.notify.apprise", raising=False)
    with pytest.raises(Invalid) as caught:
        open_channels(channel(kind="apprise", url="json://localhost"))
    assert (caught.value.code, "inhouse[notify]" in caught.value.hint) == ("missing-extra", True)


TOML = """
[notify.channels.hook]
kind = "webhook"
url = "{url}"
[notify.channels.log]
kind = "log"
"""


def test_the_command_that_tries_channels(tmp_path: Path) -> None:
    def run(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(cli, ["--dir", str(tmp_path), "notify", "test", *words])
        assert done.exception is None or isinstance(done.exception, SystemExit | Invalid), done
        return done.exit_code, done.stdout

    with WebhookServer([204, 404]) as server:
        (tmp_path / "inhouse.toml").write_text(TOML.format(url=server.url), encoding="utf-8")
        code, said = run()
        assert (code, [line.split() for line in said.splitlines()]) == (
            0,
            [["hook", "delivered"], ["log", "delivered"]],
        )
        assert server.deliveries[0].json["status"] == "test"
        code, said = run("hook", "--json")
        assert (code, json.loads(said)) == (1, {"hook": "it answered 404"})
    done = CliRunner().invoke(cli, ["--dir", str(tmp_path), "notify", "test", "nobody"])
    assert getattr(done.exception, "code", "") == "channel-not-found"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('kind = "webhook"', "a channel of kind webhook needs url"),
        ('kind = "webhook"\nurl = "ftp://x"', "does not begin with http:// or https://"),
        ('kind = "webhook"\nurl = "http://"', "url of a webhook names no host"),
        ('kind = "webhook"\nurl = "http://u:p@x"', "url of a webhook holds a name or password"),
        ('kind = "log"\nurl = "http://x"', "a channel of kind log has no url"),
        ('kind = "email"\nhost = "x"\nfrom = "a@b"', "a channel of kind email needs to"),
        ('kind = "email"\nhost = "x"\nfrom = "a@b"\nto = ["c"]', "'c' is no address of e-mail"),
        (
            'kind = "email"\nhost = "x"\nfrom = "Ops <a@b>"\nto = ["A <c@d>", "c@d, e@f"]',
            "'c@d, e@f' is no address of e-mail",
        ),
        (
            'kind = "email"\nhost = "x"\nfrom = "a@b"\nto = ["c@d"]\npassword = "\u00e4"',
            "user and password of email take ASCII only",
        ),
        ('kind = "pigeon"', "Input should be 'log', 'webhook', 'email' or 'apprise'"),
    ],
)
def test_a_channel_that_lacks_a_field_is_refused_with_its_line(
    tmp_path: Path, lines: str, said: str
) -> None:
    from inhouse.settings import load_settings

    (tmp_path / "inhouse.toml").write_text(f"[notify.channels.ops]\n{lines}\n", encoding="utf-8")
    with pytest.raises(Invalid) as caught:
        load_settings(tmp_path, {})
    place = 2 if "pigeon" in lines else 1
    assert f"inhouse.toml:{place}: notify.channels.ops" in caught.value.message
    assert said in caught.value.message
