"""The ledger's schema as numbered migrations: raw DDL, so that the database enforces the rules.

Only ever add to the end; until the first release m001 may itself be rewritten, and then
`tests/support/ledger_v1.py` must be run. Money is whole micro-USD, times are UTC ISO 8601 text with
milliseconds, paths are relative to the ledger's folder with forward slashes.
"""

from __future__ import annotations

from sqlite_utils import Database, Migrations

from kling_batch.ledger.first_schema import FIRST_SCHEMA

migrations = Migrations("kling_batch")

#: `PRAGMA application_id`: "klbt". Tells a ledger from any other SQLite file.
APPLICATION_ID = 0x6B6C6274


@migrations(name="m001_first_ledger")
def m001_first_ledger(db: Database) -> None:
    """Jobs, what they are called, paid attempts with their events, and the files they gave.

    STRICT tables everywhere: a typo in a column or a float in a money column is an error, not a
    new column or a rounding. The partial unique index forbids to pay twice: two live or successful
    attempts at one job would be two charges.
    """
    db.execute(f"pragma application_id = {APPLICATION_ID}")
    for statement in FIRST_SCHEMA.split(";;"):
        db.execute(statement)


@migrations(name="m002_bills_and_cancel_answers")
def m002_bills_and_cancel_answers(db: Database) -> None:
    """Which costs are fal's own bills, what fal answered to a cancellation, what caps count.

    Until a billing event tells the cost of an attempt, caps count the larger of its estimate and
    the cost that was reckoned from its units, because the scale of a unit can be wrong.
    """
    for statement in _M002.split(";;"):
        db.execute(statement)


_M002 = """
alter table attempts add column billed_at text
;;
alter table attempts add column cancel_answer text
;;
update attempts set billed_at = (select max(at) from events
  where attempt_id = attempts.id and event = 'cost_learnt')
;;
update attempts set cancel_answer = 'CANCELLATION_REQUESTED' where cancel_asked_at is not null
;;
-- What caps count of an attempt: never less than may be owed. `scaled`: the part of it that is an
-- estimate nobody has confirmed, and grows with what other renders of the endpoint have cost.
create view attempt_counted as
select m.attempt_id, m.job_key, m.batch, m.intended_at, a.endpoint,
  m.exposed_micro_usd + case
    when a.origin <> 'adopted' and a.billed_at is null
      and (m.state in ('rendered', 'succeeded') or a.charged = 'yes')
    then max(m.charged_micro_usd, a.estimate_micro_usd)
    else m.charged_micro_usd end as counted_micro_usd,
  m.exposed_micro_usd + m.unbilled_micro_usd as scaled_micro_usd
from attempt_money m join attempts a on a.id = m.attempt_id
"""


@migrations(name="m003_latest_renders")
def m003_latest_renders(db: Database) -> None:
    """Indexes of the latest renders of each endpoint: what they cost, how long they took.

    A run asks for them before it plans, also in a ledger of a million finished jobs.
    """
    for statement in _M003.split(";;"):
        db.execute(statement)


_M003 = """
create index attempts_costed on attempts (endpoint, id) where cost_micro_usd is not null
;;
create index attempts_rendered on attempts (endpoint, id) where rendered_at is not null
"""


@migrations(name="m004_verdicts")
def m004_verdicts(db: Database) -> None:
    """What people decided about finished renders, as a history that is only added to.

    A verdict belongs to the job key of a take and names the attempt that was judged, because a
    render that is given up and made anew is another picture.
    """
    for statement in _M004.split(";;"):
        db.execute(statement)


_M004 = """
create table verdicts (
  id integer primary key,
  job_key text not null references jobs (key),
  attempt_id integer references attempts (id),
  verdict text not null check (verdict in ('approved', 'rejected', 'picked', 'none')),
  note text not null,
  author text not null,
  at text not null
) strict
;;
create index verdicts_by_job on verdicts (job_key, id)
;;
create trigger verdicts_are_kept before delete on verdicts
begin select raise(abort, 'verdicts are never deleted'); end
;;
create trigger verdicts_are_final before update on verdicts
begin select raise(abort, 'verdicts are never changed'); end
"""


@migrations(name="m005_tags_and_counts")
def m005_tags_and_counts(db: Database) -> None:
    """Tags of jobs, and indexes by which `status` and `list` answer in a ledger of a million jobs.

    Tags select jobs and are no part of what is paid for, so they belong to names, not to `jobs`.
    """
    for statement in _M005.split(";;"):
        db.execute(statement)


_M005 = """
create table tags (
  batch text not null,
  job_id text not null,
  tag text not null,
  primary key (batch, job_id, tag)
) strict
;;
-- Which current names have no attempt, and which jobs have several: from the index alone.
create index names_current_by_job on names (job_key, batch) where retired_at is null
;;
create index names_retired on names (job_key) where retired_at is not null
;;
create index jobs_by_kind on jobs (mode, tier)
"""


@migrations(name="m006_renditions")
def m006_renditions(db: Database) -> None:
    """Renditions of paid files: a file each that can be made again for nothing at any time.

    A row stands before its file appears, so that what lies under the name is known to be ours.
    """
    for statement in _M006.split(";;"):
        db.execute(statement)


_M006 = """
create table renditions (
  path text primary key,
  source_path text not null,
  source_sha256 text not null check (length(source_sha256) = 64),
  name text not null,
  recipe text not null check (json_valid(recipe)),
  recipe_digest text not null,
  begun_at text not null,
  sha256 text check (sha256 is null or length(sha256) = 64),
  size integer,
  content_type text,
  made_at text,
  failure text,
  check ((sha256 is null) = (made_at is null) and (sha256 is null) = (size is null)),
  check (sha256 is null or failure is null)
) strict
;;
create index renditions_by_source on renditions (source_path)
;;
create index renditions_by_content on renditions (source_sha256, recipe_digest)
"""


@migrations(name="m007_takes_of_a_render")
def m007_takes_of_a_render(db: Database) -> None:
    """For which render an extra take was granted: the key of its first take.

    Once prompt or inputs have changed, it is no more of what was asked for. Those granted before
    this was kept count for ever.
    """
    db.execute("alter table extra_takes add column job_key text")
