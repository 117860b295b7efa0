from scr.facts import Revision, make_fact
from scr.records import Query
from scr.retrieval import HashEmbedder, Retriever
from scr.retrieval.hops import CHAINS, HOPS, Chain, chains_from
from scr.retrieval.keys import Key


def fact(subject, relation, target):
    name = f"{subject}-{relation}".replace(" ", ".")
    return make_fact(id=name, subject=subject, relation=relation, target=target)


FAMILY = [
    fact("Ann Lee", "spouse", "Bo Ray"),
    fact("Bo Ray", "employer", "Corsal Group"),
    fact("Corsal Group", "chief executive officer", "Dana Lee"),
    fact("Dana Lee", "place of birth", "Norburg"),
    fact("Bo Ray", "spouse", "Ann Lee"),
]


def chains(starts, facts=FAMILY):
    def followers(target):
        return [at for at, other in enumerate(facts) if other.subject == target]

    return chains_from(starts, facts.__getitem__, followers)


def store_of(facts):
    retriever = Retriever(HashEmbedder())
    retriever.follow(
        [
            Revision(
                sequence=number,
                fact=each,
                action="add",
                previous_status=None,
                status="approved",
                at="2026-01-01T00:00:00Z",
                by="test",
            )
            for number, each in enumerate(facts, 1)
        ],
        len(facts),
    )
    return retriever


def test_chains_lead_from_target_to_subject_and_never_back():
    found = chains([0])
    assert [chain.versions for chain in found] == [(0, 1), (0, 4), (0, 1, 2)]
    assert found[2].phrase == "the employer of the spouse of it"
    assert max(len(chain.versions) for chain in found) == HOPS


def test_chains_are_bounded():
    hub = [fact("A", "part", "B"), *(fact("B", f"relation {n}", "C") for n in range(50))]
    assert len(chains([0], hub)) == CHAINS


def test_a_key_reads_as_seen_from_the_first_subject():
    chain = Chain((0, 1), "the spouse of it")
    key = Key("Who employs Bo Ray?", "Who employs it?", asks=True)
    assert chain.see(key, "Ann Lee") == (
        "Who employs the spouse of Ann Lee?",
        "Who employs the spouse of it?",
        True,
    )


def test_a_question_over_a_bridge_finds_the_second_fact_with_the_first():
    found = store_of(FAMILY)(Query(text="What is the employer of the spouse of Ann Lee?"))
    best = max(found, key=lambda candidate: candidate.sentence_masked_cosine)
    assert best.fact.id == "Bo.Ray-employer"
    assert [each.id for each in best.via] == ["Ann.Lee-spouse"]
    assert best.mention is not None
    assert best.mention.text == "Ann Lee"
    assert best.masked_fact == (
        "What is the employer of the spouse of it? "
        "The employer of the spouse of it is Corsal Group."
    )


def test_nothing_is_reached_over_a_fact_that_the_query_may_not_see():
    hidden = FAMILY[0].model_copy(update={"scope": "acme"})
    found = store_of([hidden, *FAMILY[1:3]])(
        Query(text="What is the employer of Ann Lee's spouse?")
    )
    assert not any(candidate.via for candidate in found)


def test_a_subject_that_is_only_nearly_named_leads_nowhere():
    found = store_of(FAMILY[:2])(Query(text="What is the employer of the spouse of Annn Leeds?"))
    assert not any(candidate.via for candidate in found)
