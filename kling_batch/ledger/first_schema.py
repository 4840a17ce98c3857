"""DDL of the ledger's first migration, m001, which `migrations.py` carries out. Only text.

Released ledgers were made with it: it is never edited.
"""

from __future__ import annotations

FIRST_SCHEMA = """
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
