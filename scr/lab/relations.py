"""The relations of LabWorld and the sentences that ask for them and state them."""

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

EntityType = Literal[
    "person",
    "company",
    "city",
    "country",
    "university",
    "book",
    "product",
    "language",
    "occupation",
    "field",
    "industry",
    "instrument",
]

FormSplit = Literal["train", "held_out"]


class Form(BaseModel):
    """A sentence with the placeholder `{subject}`, and `{target}` where it states a fact."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    """The sentence with its placeholders."""

    split: FormSplit
    """`held_out` forms are never seen in training, in any role."""


class Relation(BaseModel):
    """A relation with its type signature and its sentence forms."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """The field's words for it, as in `The {name} of {subject} is {target}.`"""

    subject_type: EntityType
    """Type of every subject."""

    target_type: EntityType
    """Type of every target."""

    questions: tuple[Form, ...]
    """At least eight ways to ask for it; two of them held out."""

    statements: tuple[Form, ...]
    """Four ways to state it, the derived default first; the last is held out."""

    def question_texts(self, split: FormSplit) -> tuple[str, ...]:
        """Return the question forms of one split."""
        return tuple(form.text for form in self.questions if form.split == split)

    def statement_texts(self, split: FormSplit) -> tuple[str, ...]:
        """Return the statement forms of one split."""
        return tuple(form.text for form in self.statements if form.split == split)


def _relation(
    name: str,
    signature: tuple[EntityType, EntityType],
    questions: str,
    held_out_questions: str,
    statements: str,
    held_out_statement: str,
) -> Relation:
    def forms(lines: str, split: FormSplit) -> tuple[Form, ...]:
        texts = (line.strip() for line in lines.strip().splitlines())
        return tuple(
            Form(text=text.replace("[S]", "{subject}").replace("[T]", "{target}"), split=split)
            for text in texts
        )

    default = f"The {name} of [S] is [T]."
    return Relation(
        name=name,
        subject_type=signature[0],
        target_type=signature[1],
        questions=forms(questions, "train") + forms(held_out_questions, "held_out"),
        statements=forms(default, "train")
        + forms(statements, "train")
        + forms(held_out_statement, "held_out"),
    )


RELATIONS: Final[tuple[Relation, ...]] = (
    _relation(
        "place of birth",
        ("person", "city"),
        """
        Where was [S] born?
        What is the place of birth of [S]?
        What is [S]'s place of birth?
        In which city was [S] born?
        Which city was [S] born in?
        Tell me the birthplace of [S].
        Can you tell me where [S] was born?
        Hey, do you happen to know where [S] was born?
        """,
        """
        What is the birthplace of [S]?
        Do you know which city [S] was born in?
        """,
        """
        [S] was born in [T].
        The city in which [S] was born is [T].
        """,
        "[T] is where [S] was born.",
    ),
    _relation(
        "occupation",
        ("person", "occupation"),
        """
        What is the occupation of [S]?
        What is [S]'s occupation?
        What does [S] do for a living?
        What is the profession of [S]?
        Which profession does [S] have?
        Tell me the occupation of [S].
        Can you tell me what [S] does for a living?
        Hey, do you happen to know what job [S] has?
        """,
        """
        What is [S]'s profession?
        Do you know what [S] does for a living?
        """,
        """
        [S] works as a professional [T].
        The profession of [S] is [T].
        """,
        "The job that [S] has is [T].",
    ),
    _relation(
        "native language",
        ("person", "language"),
        """
        What is the native language of [S]?
        What is [S]'s native language?
        Which language did [S] grow up speaking?
        What is the mother tongue of [S]?
        What language does [S] speak natively?
        Tell me the native language of [S].
        Can you tell me which language [S] grew up with?
        Hey, do you happen to know what [S]'s mother tongue is?
        """,
        """
        What is [S]'s mother tongue?
        Do you know which language [S] grew up speaking?
        """,
        """
        [S] grew up speaking [T].
        [S] is a native speaker of [T].
        """,
        "The mother tongue of [S] is [T].",
    ),
    _relation(
        "spouse",
        ("person", "person"),
        """
        Who is the spouse of [S]?
        Who is [S]'s spouse?
        Who is [S] married to?
        To whom is [S] married?
        What is the name of the spouse of [S]?
        Tell me who [S] is married to.
        Can you tell me who married [S]?
        Hey, do you happen to know who [S] is married to?
        """,
        """
        Do you know who [S] is married to?
        What is the name of [S]'s spouse?
        """,
        """
        [S] is married to [T].
        [S] and [T] are married.
        """,
        "[T] is the person [S] is married to.",
    ),
    _relation(
        "employer",
        ("person", "company"),
        """
        Who is the employer of [S]?
        Who is [S]'s employer?
        Which company does [S] work for?
        Where does [S] work?
        What company employs [S]?
        Tell me the employer of [S].
        Can you tell me who [S] works for?
        Hey, do you happen to know where [S] works these days?
        """,
        """
        Who does [S] work for?
        Do you know which company employs [S]?
        """,
        """
        [S] works for [T].
        [S] is employed by [T].
        """,
        "[T] employs [S].",
    ),
    _relation(
        "alma mater",
        ("person", "university"),
        """
        What is the alma mater of [S]?
        What is [S]'s alma mater?
        Where did [S] study?
        From which school did [S] graduate?
        Where did [S] get a degree?
        Tell me the alma mater of [S].
        Can you tell me where [S] went to university?
        Hey, do you happen to know where [S] studied?
        """,
        """
        Which school did [S] graduate from?
        Do you know where [S] studied?
        """,
        """
        [S] graduated from [T].
        [S] studied at [T].
        """,
        "[S] holds a degree from [T].",
    ),
    _relation(
        "field of work",
        ("person", "field"),
        """
        What is the field of work of [S]?
        What is [S]'s field of work?
        In which field does [S] work?
        What subject does [S] specialize in?
        What is [S] an expert in?
        Tell me the field of work of [S].
        Can you tell me which field [S] works in?
        Hey, do you happen to know what [S] specializes in?
        """,
        """
        Which field does [S] work in?
        Do you know what subject [S] is an expert in?
        """,
        """
        [S] works in the field of [T].
        [S] is an expert in [T].
        """,
        "[S] specializes in [T].",
    ),
    _relation(
        "instrument",
        ("person", "instrument"),
        """
        What instrument does [S] play?
        Which musical instrument does [S] play?
        What is the instrument of [S]?
        What is [S]'s instrument?
        Which instrument did [S] learn to play?
        Tell me the instrument that [S] plays.
        Can you tell me what instrument [S] plays?
        Hey, do you happen to know which instrument [S] plays?
        """,
        """
        Which instrument does [S] play?
        Do you know what musical instrument [S] plays?
        """,
        """
        [S] plays the [T].
        The instrument that [S] plays is the [T].
        """,
        "[S] learned to play the [T].",
    ),
    _relation(
        "chief executive officer",
        ("company", "person"),
        """
        Who is the chief executive officer of [S]?
        Who is [S]'s chief executive officer?
        Who is the CEO of [S]?
        Who runs [S]?
        Who is in charge of [S] now?
        Tell me who leads [S].
        Can you tell me who the CEO of [S] is?
        Hey, do you happen to know who runs [S] these days?
        """,
        """
        Who runs [S] these days?
        Do you know who the chief executive officer of [S] is?
        """,
        """
        [T] is the chief executive officer of [S].
        [S] is led by its CEO, [T].
        """,
        "[T] runs [S] as chief executive officer.",
    ),
    _relation(
        "founder",
        ("company", "person"),
        """
        Who is the founder of [S]?
        Who is [S]'s founder?
        Who founded [S]?
        By whom was [S] founded?
        Which person started [S]?
        Tell me who founded [S].
        Can you tell me who started [S]?
        Hey, do you happen to know who founded [S]?
        """,
        """
        Who started [S]?
        Do you know who the founder of [S] is?
        """,
        """
        [S] was founded by [T].
        [T] founded [S].
        """,
        "It was [T] who founded [S].",
    ),
    _relation(
        "headquarters location",
        ("company", "city"),
        """
        What is the headquarters location of [S]?
        What is [S]'s headquarters location?
        Where is [S] headquartered?
        Where is the headquarters of [S]?
        In which city is [S] based?
        Tell me where [S] is headquartered.
        Can you tell me where [S] has its headquarters?
        Hey, do you happen to know where [S] is based?
        """,
        """
        Where is [S] based?
        Do you know in which city [S] is headquartered?
        """,
        """
        [S] is headquartered in [T].
        [S] has its headquarters in [T].
        """,
        "[S] is based in [T].",
    ),
    _relation(
        "industry",
        ("company", "industry"),
        """
        What is the industry of [S]?
        What is [S]'s industry?
        In which industry is [S] active?
        Which industry does [S] belong to?
        What business is [S] in?
        Tell me the industry of [S].
        Can you tell me which industry [S] is in?
        Hey, do you happen to know what business [S] is in?
        """,
        """
        Which industry is [S] in?
        Do you know in which industry [S] is active?
        """,
        """
        [S] is active in [T].
        [S] belongs to the [T] industry.
        """,
        "[S] does business in [T].",
    ),
    _relation(
        "capital",
        ("country", "city"),
        """
        What is the capital of [S]?
        What is [S]'s capital?
        Which city is the capital of [S]?
        What is the capital city of [S]?
        What city is the government of [S] in?
        Tell me the capital of [S].
        Can you tell me what the capital of [S] is?
        Hey, do you happen to know the capital of [S]?
        """,
        """
        What is the name of the capital of [S]?
        Do you know which city is the capital of [S]?
        """,
        """
        [T] is the capital of [S].
        The capital city of [S] is [T].
        """,
        "[S] has its capital in [T].",
    ),
    _relation(
        "official language",
        ("country", "language"),
        """
        What is the official language of [S]?
        What is [S]'s official language?
        Which language is official in [S]?
        What language do people speak in [S]?
        Which language does the government of [S] use?
        Tell me the official language of [S].
        Can you tell me which language is official in [S]?
        Hey, do you happen to know what language they speak in [S]?
        """,
        """
        Do you know what the official language of [S] is?
        What language is official in [S]?
        """,
        """
        [T] is the official language of [S].
        In [S], the official language is [T].
        """,
        "The government of [S] uses [T].",
    ),
    _relation(
        "country",
        ("city", "country"),
        """
        What is the country of [S]?
        In which country is [S]?
        Which country is [S] in?
        To which country does [S] belong?
        Where in the world is [S]?
        Tell me the country of [S].
        Can you tell me which country [S] is in?
        Hey, do you happen to know which country [S] belongs to?
        """,
        """
        Which country does [S] belong to?
        Do you know in which country [S] is?
        """,
        """
        [S] is a city in [T].
        [S] belongs to [T].
        """,
        "[S] lies in [T].",
    ),
    _relation(
        "location",
        ("university", "city"),
        """
        What is the location of [S]?
        What is [S]'s location?
        Where is [S] located?
        In which city is [S] located?
        Which city is home to [S]?
        Tell me the location of [S].
        Can you tell me where [S] is located?
        Hey, do you happen to know where [S] is?
        """,
        """
        Which city is [S] located in?
        Do you know where [S] is located?
        """,
        """
        [S] is located in [T].
        [T] is home to [S].
        """,
        "You find [S] in [T].",
    ),
    _relation(
        "author",
        ("book", "person"),
        """
        Who is the author of [S]?
        Who is [S]'s author?
        Who wrote [S]?
        By whom was [S] written?
        Which writer is behind [S]?
        Tell me who wrote [S].
        Can you tell me who the author of [S] is?
        Hey, do you happen to know who wrote [S]?
        """,
        """
        Do you know who the author of [S] is?
        Which writer wrote [S]?
        """,
        """
        [S] was written by [T].
        [T] wrote [S].
        """,
        "It was [T] who wrote [S].",
    ),
    _relation(
        "manufacturer",
        ("product", "company"),
        """
        Who is the manufacturer of the [S]?
        What company makes the [S]?
        Which company manufactures the [S]?
        Who makes the [S]?
        By whom is the [S] made?
        Tell me the manufacturer of the [S].
        Can you tell me who makes the [S]?
        Hey, do you happen to know which company makes the [S]?
        """,
        """
        Which company makes the [S]?
        Do you know who the manufacturer of the [S] is?
        """,
        """
        The [S] is made by [T].
        [T] makes the [S].
        """,
        "[T] manufactures the [S].",
    ),
)
