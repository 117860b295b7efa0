"""What an edit of a model's knowledge is and what follows from it: for editors and their judges."""

from typing import Literal

from pydantic import Field

from scr.records import Record


class EditRequest(Record):
    """What an editor changes: the completion of one prompt.

    The prompt is kept in three parts, since a subject may hold braces and occur twice.
    """

    id: str
    """Names the request in reports and saved edits."""

    prefix: str
    """What stands before the subject, such as `"The capital of "`."""

    subject: str = Field(min_length=1)
    """What the fact is about, as the prompt calls it."""

    suffix: str
    """What stands after the subject, such as `" is"`."""

    target: str = Field(min_length=1)
    """What the prompt should be completed with, without a space in front."""

    old_target: str | None = None
    """What it is completed with before the edit, where that is known."""

    @property
    def prompt(self) -> str:
        """The whole prompt, without the target."""
        return f"{self.prefix}{self.subject}{self.suffix}"


Split = Literal["train", "calibration", "test"]
"""What a record may be used for: to train on, to tune by, to report on."""

PromptStyle = Literal["question", "cloze"]


class EditProbe(Record):
    """A prompt with the answer that goes with it."""

    text: str
    """A question, put to a model as a user's message, or a text to be completed."""

    style: PromptStyle = "question"
    """Which of the two it is."""

    subject: str
    """What it is about, by its usual name."""

    answer: str
    """The answer, by its usual name: what is right after the edit; for `EditCase.forget`, what is
    to be forgotten."""

    aliases: tuple[str, ...] = ()
    """Other names of the answer."""


class Hop(Record):
    """One link of a multi-hop question."""

    subject: str
    """What the link is about."""

    relation: str
    """Name of the relation it follows."""

    question: str
    """Asks for its target."""

    cloze: str
    """A text that its target completes."""

    target: str
    """Where it leads."""

    aliases: tuple[str, ...] = ()
    """Other names of the target."""


class MultiHop(Record):
    """A question that passes through the edited fact without naming its target.

    Source: Zhong et al. 2023, "MQuAKE", arXiv:2305.14795.
    """

    questions: tuple[str, ...]
    """Phrasings of one question."""

    old_hops: tuple[Hop, ...]
    """The links before the edit."""

    new_hops: tuple[Hop, ...]
    """The links after it."""

    @property
    def answer(self) -> str:
        """The right answer after the edit."""
        return self.new_hops[-1].target

    @property
    def old_answer(self) -> str:
        """The right answer before it."""
        return self.old_hops[-1].target


class LongForm(Record):
    """A text of several sentences as one target, with questions about its parts."""

    question: str
    """Asks for the text."""

    text: str
    """The text after the edit."""

    sub_questions: tuple[EditProbe, ...]
    """Questions that single sentences of it answer."""


class EditCase(Record):
    """One edit and everything an evaluation asks about it.

    Groups of probes are named after what a change of their answers would mean: `rephrases` and
    `aliases` have to change with the fact; `other_subject`, `other_relation` and `unrelated` have
    to stay.
    """

    request: EditRequest
    """The edit."""

    relation: str
    """Name of the relation that changes."""

    split: Split | None = None
    """Split of the subject; `None` where the set has no splits."""

    relation_split: Split | None = None
    """Split of the relation, likewise."""

    form_split: Split | None = None
    """Split of the forms of `rephrases`, `aliases` and multi-hop questions, likewise."""

    question: str
    """Asks for the target; in a form of training where the model was trained on any."""

    target_aliases: tuple[str, ...] = ()
    """Other names of the new target."""

    old_target_aliases: tuple[str, ...] = ()
    """Other names of the old one."""

    rephrases: tuple[EditProbe, ...] = ()
    """The same question in other words: the answer is the new target."""

    aliases: tuple[EditProbe, ...] = ()
    """The same question with the subject by another name."""

    other_subject: tuple[EditProbe, ...] = ()
    """The same relation of other subjects, those with the same old target first."""

    other_relation: tuple[EditProbe, ...] = ()
    """Other relations of the same subject."""

    unrelated: tuple[EditProbe, ...] = ()
    """Facts that share neither subject nor relation with the edit."""

    same_target: tuple[EditProbe, ...] = ()
    """Other subjects of which the new target is true anyway, and stays so."""

    multi_hop: tuple[MultiHop, ...] = ()
    """Questions through the edited fact."""

    reversed: EditProbe | None = None
    """Asks from the new target back to the subject, where the relation has such a direction."""

    long_form: LongForm | None = None
    """A biography of the subject after the edit."""

    forget: tuple[EditProbe, ...] = ()
    """Other facts, for whoever unlearns: their answers must not be stated any more. The edit itself
    leaves them alone."""


class Estimate(Record):
    """A mean with its 95 % interval."""

    mean: float
    """The mean over cases."""

    low: float
    """Lower end of the interval."""

    high: float
    """Upper end of the interval."""

    n: int = Field(ge=0)
    """Cases it is a mean of."""

    def __str__(self) -> str:
        """The estimate as text: mean, interval and number."""
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}], n = {self.n}"
