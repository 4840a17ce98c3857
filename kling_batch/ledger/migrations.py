"""The ledger's schema as numbered migrations: raw DDL, so that the database enforces the rules.

Only ever add to the end; until the first release m001 may itself be rewritten, and then
`tests/support/ledger_v1.py` must be run. Money is whole micro-USD, times are UTC ISO 8601 text with
milliseconds, paths are relative to the ledger's folder with forward slashes.
"""

from __future__ import annotations

from sqlite_utils import Database, Migrations

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
    for statement in _M001.split(";;"):
        db.execute(statement)


_M001 = """
-- One row: who this ledger is, and which service its requests live at. Emulated and real renders
-- never share a ledger.
create table ledger (
  id integer primary key check (id = 1),
  uuid text not null,
  service text check (service in ('fal', 'emulator')),
  created_at text not null
) strict
;;
create table runs (
  id integer primary key,
  command text not null,
  batches text not null check (json_valid(batches)),
  pid integer not null,
  host text not null,
  version text not null,
  cap_micro_usd integer,
  started_at text not null,
  ended_at text,
  exit_code integer
) strict
;;
-- A job is what is paid for: `key` is derived from endpoint, arguments and take, and from nothing
-- else. `arguments` holds references by content ("$file", "$output"), never a URL of ours.
create table jobs (
  key text primary key,
  endpoint text not null,
  mode text not null,
  tier text not null,
  take integer not null check (take >= 1),
  arguments text not null check (json_valid(arguments)),
  first_seen_at text not null
) strict
;;
-- What people call a job. A changed prompt gives a new key under the old name; the old row stays,
-- retired, so that `plan` and `why` can say what changed.
create table names (
  batch text not null,
  job_id text not null,
  take integer not null,
  job_key text not null references jobs (key),
  path text not null,
  estimate_micro_usd integer not null,
  place text not null,
  named_at text not null,
  retired_at text,
  primary key (batch, job_id, take, job_key)
) strict
;;
create unique index names_one_current on names (batch, job_id, take) where retired_at is null
;;
create index names_by_key on names (job_key)
;;
-- What `names` was last made from, so that a run with nothing new need not compare every row.
create table registered (
  batch text primary key,
  digest text not null
) strict
;;
-- One paid try at a job. `try` counts within one permission to try: it starts again at 1 when a
-- person asks for a retry.
create table attempts (
  id integer primary key,
  job_key text not null references jobs (key),
  batch text not null,
  run_id integer not null references runs (id),
  try integer not null check (try >= 1),
  state text not null check (state in ('submitting', 'in_doubt', 'submitted', 'rendered',
                                       'succeeded', 'failed', 'cancelled')),
  origin text not null default 'paid' check (origin in ('paid', 'adopted')),
  endpoint text not null,
  payload text check (payload is null or json_valid(payload)),
  estimate_micro_usd integer not null check (estimate_micro_usd >= 0),
  intended_at text not null,
  request_id text unique,
  response_url text,
  status_url text,
  cancel_url text,
  submitted_at text,
  remote_status text,
  output text check (output is null or json_valid(output)),
  rendered_at text,
  settled_at text,
  charged text check (charged in ('no', 'yes', 'unknown')),
  billable_units real,
  cost_micro_usd integer,
  failure_kind text,
  failure text check (failure is null or json_valid(failure)),
  retry_granted_at text,
  cancel_asked_at text,
  check (state not in ('submitted', 'rendered', 'succeeded')
         or request_id is not null or origin = 'adopted'),
  check ((state in ('failed', 'cancelled')) = (failure_kind is not null)),
  check (state not in ('failed', 'cancelled') or charged is not null),
  check (state <> 'rendered' or output is not null)
) strict
;;
-- Two live or successful attempts at one job would be two charges: the database forbids it.
create unique index attempts_one_paid on attempts (job_key)
  where state in ('submitting', 'in_doubt', 'submitted', 'rendered', 'succeeded')
;;
-- Everything that planning asks of a job that is done, without its row.
create index attempts_by_job on attempts (job_key, id, state, try)
;;
-- Every cap is held against a sum over a batch or a day, before each attempt: from these two
-- alone, without the rows and the long texts in them.
create index attempts_by_batch on attempts (batch, state, origin, charged, cost_micro_usd,
                                            estimate_micro_usd)
;;
create index attempts_by_time on attempts (intended_at, state, origin, charged, cost_micro_usd,
                                           estimate_micro_usd)
;;
create index attempts_by_state on attempts (state)
;;
create index attempts_by_run on attempts (run_id)
;;
create table events (
  id integer primary key,
  attempt_id integer not null references attempts (id),
  run_id integer references runs (id),
  at text not null,
  event text not null,
  from_state text,
  to_state text not null,
  data text check (data is null or json_valid(data))
) strict
;;
create index events_by_attempt on events (attempt_id, id)
;;
-- A verified file that an attempt gave. Where it lies is in `files`: one render may be wanted
-- under several names, and a superseded one is kept beside its successor.
create table artifacts (
  id integer primary key,
  attempt_id integer not null references attempts (id),
  output_index integer not null check (output_index >= 0),
  url text,
  sha256 text not null check (length(sha256) = 64),
  size integer not null,
  content_type text not null,
  ext text not null,
  saved_at text not null,
  unique (attempt_id, output_index)
) strict
;;
create table files (
  path text primary key,
  artifact_id integer not null references artifacts (id),
  placed_at text not null,
  superseded_at text
) strict
;;
create index files_by_artifact on files (artifact_id)
;;
-- Local inputs that fal holds a copy of: one upload per content.
create table uploads (
  sha256 text primary key,
  url text not null,
  size integer not null,
  content_type text not null,
  uploaded_at text not null
) strict
;;
-- Takes beyond the manifest's that a person asked for with `reroll`.
create table extra_takes (
  batch text not null,
  job_id text not null,
  takes integer not null check (takes >= 2),
  granted_at text not null,
  primary key (batch, job_id)
) strict
;;
create trigger attempts_are_kept before delete on attempts
begin select raise(abort, 'attempts are never deleted'); end
;;
-- What fal said stays for ever. An id that a person gave, and fal never confirmed, may be another
-- request's: it can be erased, so that its own job may have it.
create trigger request_ids_are_kept before update of request_id on attempts
when old.request_id is not null and new.request_id is not old.request_id
 and (new.request_id is not null or coalesce(old.remote_status, '') <> ''
      or 'person' is not (select json_extract(data, '$.by') from events
                          where attempt_id = old.id
                            and event in ('submit_accepted', 'reconciled_found')
                          order by id limit 1))
begin select raise(abort, 'a request id is never changed, nor erased if it is fal''s'); end
;;
create trigger events_are_kept before delete on events
begin select raise(abort, 'events are never deleted'); end
;;
create trigger events_are_final before update on events
begin select raise(abort, 'events are never changed'); end
;;
-- What an attempt means in money. `charged`: known to be owed. `exposed`: may be owed and is
-- counted against every cap until it is known. Both zero: known not to be owed.
create view attempt_money as
select id as attempt_id, job_key, batch, state, intended_at,
  case when origin = 'adopted' then 0
       when state in ('rendered', 'succeeded') or charged = 'yes'
       then coalesce(cost_micro_usd, estimate_micro_usd) else 0 end as charged_micro_usd,
  case when state in ('submitting', 'in_doubt', 'submitted')
         or (state in ('failed', 'cancelled') and charged = 'unknown')
       then estimate_micro_usd else 0 end as exposed_micro_usd,
  -- Of what is exposed: over and done with, and whether it was billed is not known.
  case when state in ('failed', 'cancelled') and charged = 'unknown'
       then estimate_micro_usd else 0 end as unknown_micro_usd,
  -- Of what is charged: the estimate, because nobody has told the bill.
  case when origin <> 'adopted' and cost_micro_usd is null
         and (state in ('rendered', 'succeeded') or charged = 'yes')
       then estimate_micro_usd else 0 end as unbilled_micro_usd
from attempts
;;
create view spend as
select batch, substr(intended_at, 1, 10) as day, count(*) as attempts,
  sum(charged_micro_usd) / 1e6 as charged_usd, sum(exposed_micro_usd) / 1e6 as exposed_usd,
  sum(unknown_micro_usd) / 1e6 as unknown_usd
from attempt_money group by batch, day
;;
-- What renders cost against what they were estimated to cost.
create view drift as
select endpoint, count(*) as renders, sum(estimate_micro_usd) / 1e6 as estimated_usd,
  sum(cost_micro_usd) / 1e6 as cost_usd,
  round(1.0 * sum(cost_micro_usd) / nullif(sum(estimate_micro_usd), 0), 3) as ratio
from attempts where cost_micro_usd is not null and state in ('rendered', 'succeeded')
group by endpoint
;;
create view job_status as
select n.batch, n.job_id || iif(n.retired_at is null, '', '@' || substr(n.job_key, 4, 8)) as job_id,
  n.take, coalesce(a.state, 'pending') as state, j.mode, j.tier,
  json_extract(j.arguments, '$.prompt') as prompt, n.estimate_micro_usd / 1e6 as estimate_usd,
  a.cost_micro_usd / 1e6 as cost_usd, a.request_id, a.remote_status, a.failure_kind,
  json_extract(a.failure, '$.message') as failure,
  (select group_concat(f.path, ' ') from artifacts x join files f on f.artifact_id = x.id
   where x.attempt_id = a.id and f.superseded_at is null) as files,
  j.endpoint, j.key as job_key, a.id as attempt_id
from names n join jobs j on j.key = n.job_key
left join attempts a on a.id = (select max(id) from attempts where job_key = j.key)
where n.retired_at is null
   -- What left its manifest while money was on it, under the last name that it had.
   or (a.state in ('submitting', 'in_doubt', 'submitted', 'rendered')
       and n.rowid = (select l.rowid from names l where l.job_key = n.job_key
                      order by l.retired_at is not null, l.retired_at desc limit 1))
;;
create view failures as
select a.id as attempt_id, n.batch, n.job_id, n.take, a.failure_kind,
  json_extract(a.failure, '$.message') as message, a.charged, a.settled_at, a.request_id
from attempts a left join names n on n.job_key = a.job_key and n.retired_at is null
where a.state in ('failed', 'cancelled')
"""


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
