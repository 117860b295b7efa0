"""Settings: arguments over environment (`SCR_…`) over a TOML file (`scr.toml`)."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from scr.errors import InvalidInput
from scr.facts import DEFAULT_SCOPE, Scope, explain
from scr.records import Placement

CONFIG_FILE = Path("scr.toml")


class Settings(BaseSettings):
    """Everything that can be set, with its default."""

    model_config = SettingsConfigDict(
        env_prefix="SCR_", extra="forbid", frozen=True, toml_file=CONFIG_FILE
    )

    store: Path = Path("facts.db")
    """The SQLite file with the facts."""

    user: str = ""
    """Who is named as the author of changes; empty: the login name."""

    embedder: str = "offline"
    """Embedding model: a hub id, a path, or `offline` (the model of the `offline` extra)."""

    scope: Scope = DEFAULT_SCOPE
    """Scope of queries and new facts that name none."""

    threshold: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Probability from which a fact applies; `None`: the detector's calibrated one."""

    max_false_fire_rate: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Instead of a threshold: share of the queries that nothing answers for which something may
    fire, on average. Promised for queries like those that the detector was calibrated on."""

    calibration: Path | None = None
    """File of `scr detector calibrate`, made on a team's own queries; `None`: as shipped."""

    reader: bool = True
    """Whether a small cross-encoder reads what the detector's features leave possible: surer, and
    slower by a few milliseconds."""

    confirmer: str = ""
    """A second look at each fact that applies: `model` (the wrapped chat model is asked), or the
    hub id or folder of a sentence-transformers cross-encoder; empty: none."""

    candidates: Annotated[int, Field(ge=1, le=1000)] = 16
    """Facts taken from the key index for each query."""

    max_facts: Annotated[int, Field(ge=1, le=100)] = 8
    """Most facts injected into one prompt."""

    budget: Annotated[int, Field(ge=1)] = 1024
    """Most tokens injected into one prompt: as the wrapped model counts them, where it can count,
    else estimated from the number of bytes."""

    placement: Placement = "system"
    """Where facts are put: at the end of the system message, or of the last user message, which
    leaves a cached system prompt alone."""

    decision_timeout: Annotated[float, Field(gt=0)] = 5.0
    """Seconds after which the server lets a request pass without a decision."""

    fail_closed: bool = False
    """Whether the server refuses a request on which it could not decide, instead of letting it
    pass."""

    trace_text: bool = False
    """Whether traces keep message text; otherwise hashes and ids only."""

    trace_retention_days: Annotated[float, Field(ge=0)] = 30.0
    """How long traces are kept, in days; 0 keeps none and deletes those of before."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments first, then the environment, then `scr.toml` in the working directory."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def load_settings(**arguments: object) -> Settings:
    """Return the settings in force; arguments that are `None` count as not given.

    Raises:
        InvalidInput: naming each setting that cannot be used and why.
    """
    given = {name: value for name, value in arguments.items() if value is not None}
    try:
        return Settings(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        raise InvalidInput(f"settings: {explain(error)}") from error
    except ValueError as error:  # what reading TOML raises: no TOML, or no UTF-8
        raise InvalidInput(f"{CONFIG_FILE} cannot be read: {error}; mend or remove it") from error
