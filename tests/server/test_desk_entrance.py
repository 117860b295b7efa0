"""Coming in at the desk: passwords, sessions, roles, and too many attempts."""

import httpx2
import pytest

from scr.chat import ScriptedChatModel
from scr.errors import SignInRefused, TooManyRequests
from scr.server import LocalModel, create_app
from scr.server.desk.attempts import WINDOW, Attempts

from .running import open_knowledge, running, text_of

WORD = "correct horse battery"


@pytest.fixture
def house(tmp_path):
    """A store with people and no keys; gives its people, and signs clients in."""
    with open_knowledge(tmp_path / "x.db") as knowledge:
        people = knowledge.store.keys.people
        for role in ("reader", "editor", "approver", "admin"):
            people.add(role.capitalize(), f"{WORD} {role}", role, ["default"], by="ana")
        app = create_app(knowledge, LocalModel(ScriptedChatModel(answers={"": "Hm."}), "fake"))
        with running(app) as url:
            clients = []

            def client():
                clients.append(httpx2.Client(base_url=url, follow_redirects=True))
                return clients[-1]

            yield people, client
            for each in clients:
                each.close()


def sign_in(client, name, password=None):
    given = {"name": name, "password": password or f"{WORD} {name.lower()}"}
    return client.post("/ui/sign-in", data=given)


def test_people_sign_in_and_out(house):
    _, client = house
    eve = client()
    assert eve.get("/ui/facts").url.path == "/ui/sign-in"
    answer = sign_in(eve, "editor")  # the case of a name does not matter
    assert answer.url.path == "/ui/facts"
    assert "Editor" in text_of(answer)
    (cookie,) = eve.cookies.jar
    assert cookie.has_nonstandard_attr("HttpOnly")
    assert cookie.get_nonstandard_attr("SameSite") == "strict"
    eve.post("/ui/sign-out")
    assert eve.get("/ui/facts").url.path == "/ui/sign-in"


def test_with_people_nobody_else_comes_in(house):
    _, client = house
    stranger = client()
    assert stranger.post("/ui/facts", data={"statement": "S."}).status_code == 401
    assert stranger.post("/ui/sign-in", data={"key": "scr_x"}).status_code == 401
    part = stranger.get("/ui/facts", headers={"hx-request": "true"}, follow_redirects=False)
    assert (part.status_code, part.headers["hx-redirect"]) == (401, "/ui/sign-in")


def test_the_history_names_who_signed_in(house):
    _, client = house
    eve = client()
    sign_in(eve, "Editor")
    page = eve.post("/ui/facts", data={"statement": "The sky is up."})
    assert "by Editor" in text_of(page)


@pytest.mark.parametrize("path", ["keys", "import", "new"])
def test_a_role_opens_its_pages_only(house, path):
    _, client = house
    reader = client()
    sign_in(reader, "Reader")
    answer = reader.get(f"/ui/{path}")
    assert answer.status_code == 403
    assert "yours is reader" in text_of(answer)
    assert f'href="/ui/{path}"' not in reader.get("/ui/facts").text


@pytest.mark.parametrize("path", ["people", "people/remove", "people/password", "keys"])
def test_only_administrators_let_people_in(house, path):
    people, client = house
    approver = client()
    sign_in(approver, "Approver")
    given = {"name": "Reader", "password": WORD, "role": "admin", "scopes": "default"}
    assert approver.post(f"/ui/{path}", data=given).status_code == 403
    assert people.get("Reader").role == "reader"
    assert len(people.list()) == 4


def test_an_administrator_lets_in_resets_and_removes(house):
    people, client = house
    admin = client()
    sign_in(admin, "Admin")
    given = {"name": "Zoe", "password": f"{WORD} zoe", "role": "editor", "scopes": "default, acme"}
    assert "Zoe may sign in now" in text_of(admin.post("/ui/people", data=given))
    assert people.get("zoe").scopes == ("default", "acme")
    zoe = client()
    sign_in(zoe, "Zoe")
    assert zoe.get("/ui/new").status_code == 200
    admin.post("/ui/people/password", data={"name": "Zoe", "password": WORD})
    assert zoe.get("/ui/new").url.path == "/ui/sign-in"  # the session has ended
    assert sign_in(zoe, "Zoe", WORD).url.path == "/ui/facts"
    admin.post("/ui/people/remove", data={"name": "Zoe"})
    assert zoe.get("/ui/new").url.path == "/ui/sign-in"
    assert sign_in(zoe, "Zoe", WORD).status_code == 401
    assert admin.post("/ui/people/remove", data={"name": "Admin"}).status_code == 422
    short = {**given, "name": "Bob", "password": "short"}
    refused = admin.post("/ui/people", data=short)
    assert refused.status_code == 422
    assert "10 to" in text_of(refused)


def test_someone_changes_their_own_password(house):
    people, client = house
    eve, elsewhere = client(), client()
    for each in (eve, elsewhere):
        sign_in(each, "Editor")
    new = {
        "old": f"{WORD} editor",
        "new": "another horse battery",
        "again": "another horse battery",
    }
    assert eve.post("/ui/me", data={**new, "old": "wrong horse battery"}).status_code == 422
    assert eve.post("/ui/me", data={**new, "again": "different"}).status_code == 422
    assert "is changed" in text_of(eve.post("/ui/me", data=new))
    assert eve.get("/ui/facts").url.path == "/ui/facts"
    assert elsewhere.get("/ui/facts").url.path == "/ui/sign-in"
    assert people.sign_in("Editor", "another horse battery").name == "Editor"


def test_after_five_wrong_passwords_the_right_one_has_to_wait(house):
    _, client = house
    eve = client()
    for _ in range(5):
        assert sign_in(eve, "Editor", "wrong horse battery").status_code == 401
    answer = sign_in(eve, "Editor")
    assert answer.status_code == 429
    assert "try again in" in text_of(answer)
    assert sign_in(eve, "Reader").url.path == "/ui/facts"  # others are not locked out


def test_the_first_person_is_an_administrator_and_then_everyone_signs_in(desk, knowledge):
    given = {"name": "Ana", "password": WORD, "role": "reader", "scopes": "default"}
    refused = desk.post("/ui/people", data=given)
    assert refused.status_code == 422
    assert "administrator" in text_of(refused)
    assert desk.post("/ui/people", data={**given, "role": "admin"}).url.path == "/ui/sign-in"
    assert desk.get("/ui/facts").url.path == "/ui/sign-in"
    assert sign_in(desk, "Ana", WORD).url.path == "/ui/facts"


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def fail(attempts, address="a", name="eve"):
    with pytest.raises(SignInRefused), attempts.counted(address, name):
        raise SignInRefused("no")


def test_failed_attempts_count_for_a_while():
    clock = Clock()
    attempts = Attempts(clock)
    for _ in range(5):
        fail(attempts)
    with pytest.raises(TooManyRequests), attempts.counted("a", "eve"):
        pytest.fail("not reached")
    with attempts.counted("b", "eve"):  # from elsewhere one may still try
        pass
    clock.now = WINDOW
    with attempts.counted("a", "eve"):
        pass


def test_an_address_and_a_name_have_limits_of_their_own():
    attempts = Attempts(Clock())
    for number in range(30):
        fail(attempts, name=f"n{number}")
    with pytest.raises(TooManyRequests), attempts.counted("a", "new"):
        pytest.fail("not reached")
    attempts = Attempts(Clock())
    for number in range(100):
        fail(attempts, address=f"a{number}")
    with pytest.raises(TooManyRequests), attempts.counted("new", "eve"):
        pytest.fail("not reached")


def test_what_succeeds_or_breaks_does_not_count():
    attempts = Attempts(Clock())
    for _ in range(50):
        with attempts.counted("a", "eve"):
            pass
        with pytest.raises(ValueError, match="x"), attempts.counted("a", "eve"):
            raise ValueError("x")
