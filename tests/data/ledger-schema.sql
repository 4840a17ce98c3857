CREATE TABLE "_sqlite_migrations" (
   "id" INTEGER PRIMARY KEY,
   "migration_set" TEXT,
   "name" TEXT,
   "applied_at" TEXT
);
CREATE TABLE artifacts (
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
;
CREATE VIEW attempt_counted as
select m.attempt_id, m.job_key, m.batch, m.intended_at, a.endpoint,
  m.exposed_micro_usd + case
    when a.origin <> 'adopted' and a.billed_at is null
      and (m.state in ('rendered', 'succeeded') or a.charged = 'yes')
    then max(m.charged_micro_usd, a.estimate_micro_usd)
    else m.charged_micro_usd end as counted_micro_usd,
  m.exposed_micro_usd + m.unbilled_micro_usd as scaled_micro_usd
from attempt_money m join attempts a on a.id = m.attempt_id;
CREATE VIEW attempt_money as
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
from attempts;
CREATE TABLE attempts (
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
  cancel_asked_at text, billed_at text, cancel_answer text,
  check (state not in ('submitted', 'rendered', 'succeeded')
         or request_id is not null or origin = 'adopted'),
  check ((state in ('failed', 'cancelled')) = (failure_kind is not null)),
  check (state not in ('failed', 'cancelled') or charged is not null),
  check (state <> 'rendered' or output is not null)
) strict
;
CREATE TRIGGER attempts_are_kept before delete on attempts
begin select raise(abort, 'attempts are never deleted'); end;
CREATE INDEX attempts_by_batch on attempts (batch, state, origin, charged, cost_micro_usd,
                                            estimate_micro_usd)
;
CREATE INDEX attempts_by_job on attempts (job_key, id, state, try)
;
CREATE INDEX attempts_by_run on attempts (run_id)
;
CREATE INDEX attempts_by_state on attempts (state)
;
CREATE INDEX attempts_by_time on attempts (intended_at, state, origin, charged, cost_micro_usd,
                                           estimate_micro_usd)
;
CREATE INDEX attempts_costed on attempts (endpoint, id) where cost_micro_usd is not null
;
CREATE UNIQUE INDEX attempts_one_paid on attempts (job_key)
  where state in ('submitting', 'in_doubt', 'submitted', 'rendered', 'succeeded')
;
CREATE INDEX attempts_rendered on attempts (endpoint, id) where rendered_at is not null
;
CREATE VIEW drift as
select endpoint, count(*) as renders, sum(estimate_micro_usd) / 1e6 as estimated_usd,
  sum(cost_micro_usd) / 1e6 as cost_usd,
  round(1.0 * sum(cost_micro_usd) / nullif(sum(estimate_micro_usd), 0), 3) as ratio
from attempts where cost_micro_usd is not null and state in ('rendered', 'succeeded')
group by endpoint;
CREATE TABLE events (
  id integer primary key,
  attempt_id integer not null references attempts (id),
  run_id integer references runs (id),
  at text not null,
  event text not null,
  from_state text,
  to_state text not null,
  data text check (data is null or json_valid(data))
) strict
;
CREATE TRIGGER events_are_final before update on events
begin select raise(abort, 'events are never changed'); end;
CREATE TRIGGER events_are_kept before delete on events
begin select raise(abort, 'events are never deleted'); end;
CREATE INDEX events_by_attempt on events (attempt_id, id)
;
CREATE TABLE extra_takes (
  batch text not null,
  job_id text not null,
  takes integer not null check (takes >= 2),
  granted_at text not null, job_key text,
  primary key (batch, job_id)
) strict
;
CREATE VIEW failures as
select a.id as attempt_id, n.batch, n.job_id, n.take, a.failure_kind,
  json_extract(a.failure, '$.message') as message, a.charged, a.settled_at, a.request_id
from attempts a left join names n on n.job_key = a.job_key and n.retired_at is null
where a.state in ('failed', 'cancelled');
CREATE TABLE files (
  path text primary key,
  artifact_id integer not null references artifacts (id),
  placed_at text not null,
  superseded_at text
) strict
;
CREATE INDEX files_by_artifact on files (artifact_id)
;
CREATE UNIQUE INDEX "idx__sqlite_migrations_migration_set_name"
    ON "_sqlite_migrations" ("migration_set", "name");
CREATE VIEW job_status as
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
                      order by l.retired_at is not null, l.retired_at desc limit 1));
CREATE TABLE jobs (
  key text primary key,
  endpoint text not null,
  mode text not null,
  tier text not null,
  take integer not null check (take >= 1),
  arguments text not null check (json_valid(arguments)),
  first_seen_at text not null
) strict
;
CREATE INDEX jobs_by_kind on jobs (mode, tier)
;
CREATE TABLE ledger (
  id integer primary key check (id = 1),
  uuid text not null,
  service text check (service in ('fal', 'emulator')),
  created_at text not null
) strict
;
CREATE TABLE names (
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
;
CREATE INDEX names_by_key on names (job_key)
;
CREATE INDEX names_current_by_job on names (job_key, batch) where retired_at is null
;
CREATE UNIQUE INDEX names_one_current on names (batch, job_id, take) where retired_at is null
;
CREATE INDEX names_retired on names (job_key) where retired_at is not null
;
CREATE TABLE registered (
  batch text primary key,
  digest text not null
) strict
;
CREATE TABLE renditions (
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
;
CREATE INDEX renditions_by_content on renditions (source_sha256, recipe_digest)
;
CREATE INDEX renditions_by_source on renditions (source_path)
;
CREATE TRIGGER request_ids_are_kept before update of request_id on attempts
when old.request_id is not null and new.request_id is not old.request_id
 and (new.request_id is not null or coalesce(old.remote_status, '') <> ''
      or 'person' is not (select json_extract(data, '$.by') from events
                          where attempt_id = old.id
                            and event in ('submit_accepted', 'reconciled_found')
                          order by id limit 1))
begin select raise(abort, 'a request id is never changed, nor erased if it is fal''s'); end;
CREATE TABLE runs (
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
;
CREATE VIEW spend as
select batch, substr(intended_at, 1, 10) as day, count(*) as attempts,
  sum(charged_micro_usd) / 1e6 as charged_usd, sum(exposed_micro_usd) / 1e6 as exposed_usd,
  sum(unknown_micro_usd) / 1e6 as unknown_usd
from attempt_money group by batch, day;
CREATE TABLE tags (
  batch text not null,
  job_id text not null,
  tag text not null,
  primary key (batch, job_id, tag)
) strict
;
CREATE TABLE uploads (
  sha256 text primary key,
  url text not null,
  size integer not null,
  content_type text not null,
  uploaded_at text not null
) strict
;
CREATE TABLE verdicts (
  id integer primary key,
  job_key text not null references jobs (key),
  attempt_id integer references attempts (id),
  verdict text not null check (verdict in ('approved', 'rejected', 'picked', 'none')),
  note text not null,
  author text not null,
  at text not null
) strict
;
CREATE TRIGGER verdicts_are_final before update on verdicts
begin select raise(abort, 'verdicts are never changed'); end;
CREATE TRIGGER verdicts_are_kept before delete on verdicts
begin select raise(abort, 'verdicts are never deleted'); end;
CREATE INDEX verdicts_by_job on verdicts (job_key, id)
;
