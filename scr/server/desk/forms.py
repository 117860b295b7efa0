"""What people send: the fields of a form, and files."""

from collections.abc import AsyncIterator
from typing import Annotated, Final, NamedTuple
from urllib.parse import parse_qsl

from fastapi import Depends
from python_multipart.exceptions import MultipartParseError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from scr.errors import InvalidInput
from scr.server.desk.people import require_own_page
from scr.server.limits import read_body

_MOST: Final = 5_000_000  # bytes of a form, its files included
_SECONDS: Final = 30.0
_FIELDS: Final = 20_000  # more boxes than that are on no page


class Upload(NamedTuple):
    """A file that somebody sent."""

    name: str
    content: bytes


class Form:
    """A form's fields."""

    def __init__(self, fields: list[tuple[str, str]], files: dict[str, Upload]) -> None:
        self._fields: dict[str, list[str]] = {}
        for name, value in fields:
            self._fields.setdefault(name, []).append(value.replace("\r\n", "\n"))
        self._files = files

    def one(self, name: str) -> str:
        """Return a field's value without blanks around it; empty where it was not sent."""
        return self.all(name)[0].strip() if self.all(name) else ""

    def raw(self, name: str) -> str:
        """Return a field's value as it was sent: blanks of a password count."""
        return self.all(name)[0] if self.all(name) else ""

    def all(self, name: str) -> list[str]:
        """Return all values of a field: one for each box that was ticked."""
        return self._fields.get(name, [])

    def lines(self, name: str) -> list[str]:
        """Return the lines of a field that are not blank."""
        return [line.strip() for line in self.one(name).split("\n") if line.strip()]

    def parts(self, name: str) -> list[str]:
        """Return the parts of a field that commas separate."""
        return [part.strip() for part in self.one(name).split(",") if part.strip()]

    def upload(self, name: str) -> Upload | None:
        """Return the file of a field, if one was chosen."""
        return self._files.get(name)


async def read_form(request: Request) -> Form:
    """Return a form that a page of ours sent.

    Raises:
        KeyForbids: a page of another site sent it.
        InvalidInput: it is broken.
    """
    require_own_page(request)
    declared = request.headers.get("content-length")
    body = await read_body(request.stream(), declared, _MOST, seconds=_SECONDS)
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        return await _read_parts(request, body)
    pairs = parse_qsl(
        body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=_FIELDS
    )
    return Form(pairs, {})


async def _read_parts(request: Request, body: bytes) -> Form:
    async def stream() -> AsyncIterator[bytes]:
        yield body

    try:
        parser = MultiPartParser(request.headers, stream(), max_part_size=_MOST)  # type: ignore[arg-type]
        parts = await parser.parse()
    except (MultiPartException, MultipartParseError, KeyError) as error:
        raise InvalidInput("this form is broken; send it again") from error
    fields, files = [], {}
    for name, value in parts.multi_items():
        if isinstance(value, UploadFile):
            content = await value.read()
            await value.close()
            if value.filename:
                files[name] = Upload(value.filename, content)
        else:
            fields.append((name, value))
    return Form(fields, files)


Filled = Annotated[Form, Depends(read_form)]
