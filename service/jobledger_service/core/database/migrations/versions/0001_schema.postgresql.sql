CREATE TABLE api_keys (
    key_id TEXT COLLATE "C" NOT NULL,
    owner TEXT NOT NULL,
    name TEXT NOT NULL,
    roles TEXT NOT NULL,
    digest BYTEA NOT NULL,
    create_time BIGINT NOT NULL,
    expire_time BIGINT,
    revoke_time BIGINT,
    last_used_time BIGINT,
    request_key TEXT COLLATE "C",
    served_owners TEXT NOT NULL,
    all_owners BOOLEAN NOT NULL,
    change BIGINT NOT NULL,
    PRIMARY KEY (key_id)
);

CREATE TABLE artifact_removals (
    uid BYTEA NOT NULL,
    removal_key TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (uid)
);

CREATE TABLE artifact_versions (
    job_key TEXT COLLATE "C" NOT NULL,
    uid BYTEA NOT NULL,
    chunk_index INTEGER NOT NULL,
    revision BIGINT NOT NULL,
    content TEXT NOT NULL,
    encoded BYTEA NOT NULL,
    PRIMARY KEY (job_key, uid, chunk_index, revision)
);

CREATE TABLE attempts (
    job_key TEXT COLLATE "C" NOT NULL,
    chunk_index BIGINT NOT NULL,
    attempt_number BIGINT NOT NULL,
    outcome TEXT,
    attempt_end_time BIGINT,
    task_id TEXT NOT NULL,
    worker TEXT NOT NULL,
    current BYTEA NOT NULL,
    PRIMARY KEY (job_key, chunk_index, attempt_number)
);

CREATE TABLE audit (
    job_key TEXT COLLATE "C" NOT NULL,
    position BIGINT NOT NULL,
    commit_time BIGINT NOT NULL,
    changes BIGINT NOT NULL,
    message BYTEA NOT NULL,
    PRIMARY KEY (job_key, position)
);

CREATE TABLE chunks (
    job_key TEXT COLLATE "C" NOT NULL,
    chunk_index BIGINT NOT NULL,
    create_time BIGINT NOT NULL,
    first_item BIGINT,
    last_item BIGINT,
    finalizer_work BIGINT,
    state TEXT NOT NULL,
    attempt BIGINT NOT NULL,
    max_attempts BIGINT NOT NULL,
    fence BIGINT NOT NULL,
    attempt_number BIGINT NOT NULL,
    outcome TEXT,
    attempt_end_time BIGINT,
    task_id TEXT NOT NULL,
    done BIGINT NOT NULL,
    stage TEXT NOT NULL,
    stage_percent DOUBLE PRECISION,
    items_completed BIGINT NOT NULL,
    stage_time BIGINT,
    artifacts_revision BIGINT,
    end_time BIGINT,
    lease_expire_time BIGINT,
    lease_check_time BIGINT,
    next_attempt_time BIGINT,
    held SMALLINT NOT NULL,
    worker TEXT NOT NULL,
    current BYTEA NOT NULL,
    owner TEXT NOT NULL,
    kind TEXT NOT NULL,
    priority SMALLINT NOT NULL,
    input BYTEA,
    PRIMARY KEY (job_key, chunk_index),
    CONSTRAINT state_known CHECK (state IN ('PENDING', 'PROCESSING', 'COMPLETED', 'FAILED', 'CANCELLED')),
    CONSTRAINT priority_in_range CHECK (priority BETWEEN 0 AND 10),
    CONSTRAINT done_in_range CHECK (done BETWEEN 0 AND 1000000),
    CONSTRAINT stage_percent_in_range CHECK (stage_percent BETWEEN 0 AND 100),
    CONSTRAINT counts_not_negative CHECK (attempt >= 0 AND fence >= 0 AND items_completed >= 0),
    CONSTRAINT lease_when_processing CHECK ((lease_expire_time IS NOT NULL) = (state = 'PROCESSING')),
    CONSTRAINT held_when_pending CHECK (held = 0 OR state = 'PENDING')
);

CREATE TABLE counts (
    owner TEXT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    jobs BIGINT NOT NULL,
    chunks_pending BIGINT NOT NULL,
    chunks_processing BIGINT NOT NULL,
    chunks_limit BIGINT NOT NULL,
    chunks_schedule BIGINT NOT NULL,
    chunks_backoff BIGINT NOT NULL,
    chunks_finalizer BIGINT NOT NULL,
    size SMALLINT GENERATED ALWAYS AS (CASE WHEN owner = '' AND kind <> '' AND jobs > 0 THEN length(CAST(jobs AS TEXT)) ELSE 0 END) STORED,
    PRIMARY KEY (owner, kind, state)
);

CREATE TABLE deleted_outputs (
    uid BYTEA NOT NULL,
    PRIMARY KEY (uid)
);

CREATE TABLE deleted_versions (
    uid BYTEA NOT NULL,
    job_key TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (uid)
);

CREATE TABLE event_terms (
    term TEXT COLLATE "C" NOT NULL,
    block BIGINT NOT NULL,
    bits BIGINT NOT NULL,
    PRIMARY KEY (term, block)
);

CREATE TABLE events (
    position BIGINT NOT NULL,
    job_key TEXT COLLATE "C" NOT NULL,
    commit_time BIGINT NOT NULL,
    changes BIGINT NOT NULL,
    message BYTEA NOT NULL,
    before JSONB,
    previous BYTEA,
    artifacts TEXT,
    artifacts_bytes INTEGER NOT NULL,
    PRIMARY KEY (position)
);

CREATE TABLE failures (
    kind_key TEXT COLLATE "C" NOT NULL,
    hours INTEGER NOT NULL,
    hour INTEGER NOT NULL,
    error_code TEXT COLLATE "C" NOT NULL,
    stage TEXT COLLATE "C" NOT NULL,
    count BIGINT NOT NULL,
    newest TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (kind_key, hours, hour, error_code, stage)
);

CREATE TABLE job_labels (
    index_number INTEGER NOT NULL,
    owner TEXT COLLATE "C" NOT NULL,
    digest BIGINT NOT NULL,
    create_time BIGINT NOT NULL,
    job_key TEXT COLLATE "C" NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    priority SMALLINT NOT NULL,
    end_time BIGINT,
    PRIMARY KEY (index_number, owner, digest, create_time, job_key)
);

CREATE TABLE jobs (
    job_key TEXT COLLATE "C" NOT NULL,
    job_id TEXT NOT NULL,
    owner TEXT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    priority BIGINT NOT NULL,
    percent DOUBLE PRECISION NOT NULL,
    stage_percent DOUBLE PRECISION,
    items_completed BIGINT NOT NULL,
    items_total BIGINT NOT NULL,
    chunks_pending BIGINT NOT NULL,
    chunks_processing BIGINT NOT NULL,
    chunks_completed BIGINT NOT NULL,
    chunks_failed BIGINT NOT NULL,
    chunks_cancelled BIGINT NOT NULL,
    create_time BIGINT NOT NULL,
    start_time BIGINT,
    update_time BIGINT NOT NULL,
    end_time BIGINT,
    expire_time BIGINT,
    retry_count BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    finalizer_work BIGINT,
    uid BYTEA NOT NULL,
    chunks_delayed BIGINT NOT NULL,
    work_total BIGINT NOT NULL,
    work_done BIGINT NOT NULL,
    artifacts_revision BIGINT,
    output_bytes BIGINT,
    deadline BIGINT,
    retry_time BIGINT,
    parked_for TEXT COLLATE "C" NOT NULL,
    held_until BIGINT,
    claimable SMALLINT NOT NULL,
    schedule_time BIGINT,
    settled BYTEA NOT NULL,
    current BYTEA NOT NULL,
    fixed BYTEA NOT NULL,
    moving BYTEA NOT NULL,
    input BYTEA,
    PRIMARY KEY (job_key),
    CONSTRAINT state_known CHECK (state IN ('QUEUED', 'RUNNING', 'CANCELLING', 'COMPLETED', 'FAILED', 'CANCELLED')),
    CONSTRAINT priority_in_range CHECK (priority BETWEEN 0 AND 10),
    CONSTRAINT percent_in_range CHECK (percent BETWEEN 0 AND 100),
    CONSTRAINT stage_percent_in_range CHECK (stage_percent BETWEEN 0 AND 100),
    CONSTRAINT revision_counts CHECK (revision >= 1 AND retry_count >= 0),
    CONSTRAINT chunks_not_negative CHECK (chunks_pending >= 0 AND chunks_processing >= 0 AND chunks_completed >= 0 AND chunks_failed >= 0 AND chunks_cancelled >= 0 AND chunks_delayed BETWEEN 0 AND chunks_pending),
    CONSTRAINT sums_in_range CHECK (work_done BETWEEN 0 AND work_total AND items_completed BETWEEN 0 AND items_total),
    CONSTRAINT end_time_when_ended CHECK ((end_time IS NOT NULL) = (state IN ('CANCELLED', 'COMPLETED', 'FAILED')))
);

CREATE TABLE label_indexes (
    number INTEGER NOT NULL,
    name TEXT NOT NULL,
    state TEXT NOT NULL,
    built_through TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (number),
    CONSTRAINT state_known CHECK (state IN ('BUILDING', 'READY', 'CLEARING'))
);

CREATE TABLE ledger (
    id SMALLINT NOT NULL,
    epoch TEXT NOT NULL,
    token_secret BYTEA NOT NULL,
    position BIGINT NOT NULL,
    trimmed BIGINT NOT NULL,
    commit_time BIGINT NOT NULL,
    writer_level INTEGER NOT NULL,
    label_indexes TEXT NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT one_row CHECK (id = 1),
    CONSTRAINT trimmed_in_range CHECK (trimmed BETWEEN 0 AND position)
);

CREATE TABLE limits (
    limit_key TEXT COLLATE "C" NOT NULL,
    owner TEXT NOT NULL,
    scope TEXT NOT NULL,
    max_running INTEGER,
    running BIGINT NOT NULL,
    waiting BIGINT NOT NULL,
    is_set BOOLEAN NOT NULL,
    values_through TEXT COLLATE "C",
    PRIMARY KEY (limit_key)
);

CREATE TABLE outputs (
    uid BYTEA NOT NULL,
    chunk_index INTEGER NOT NULL,
    encoded BYTEA NOT NULL,
    PRIMARY KEY (uid, chunk_index)
);

CREATE TABLE paused_kinds (
    owner TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    reason TEXT NOT NULL,
    paused_by TEXT NOT NULL,
    pause_time BIGINT NOT NULL,
    update_time BIGINT NOT NULL,
    PRIMARY KEY (owner, kind)
);

CREATE TABLE quotas (
    owner TEXT COLLATE "C" NOT NULL,
    max_unfinished_jobs BIGINT,
    max_stored_jobs BIGINT,
    max_watches BIGINT,
    reason TEXT NOT NULL,
    set_by TEXT NOT NULL,
    set_time BIGINT NOT NULL,
    PRIMARY KEY (owner)
);

CREATE TABLE rollups (
    owner TEXT NOT NULL,
    hour INTEGER NOT NULL,
    kind TEXT NOT NULL,
    measure TEXT NOT NULL,
    bucket INTEGER NOT NULL,
    count BIGINT NOT NULL,
    total BIGINT NOT NULL,
    PRIMARY KEY (owner, hour, kind, measure, bucket)
);

CREATE TABLE running_totals (
    owner TEXT NOT NULL,
    kind TEXT NOT NULL,
    hour INTEGER NOT NULL,
    activity TEXT NOT NULL,
    PRIMARY KEY (owner, kind, hour)
);

CREATE TABLE tombstones (
    position BIGINT NOT NULL,
    owner TEXT NOT NULL,
    create_time BIGINT NOT NULL,
    job_key TEXT COLLATE "C" NOT NULL,
    uid BYTEA NOT NULL,
    delete_time BIGINT NOT NULL,
    PRIMARY KEY (position)
);

CREATE TABLE usage (
    day TEXT COLLATE "C" NOT NULL,
    owner TEXT COLLATE "C" NOT NULL,
    key_id TEXT COLLATE "C" NOT NULL,
    method TEXT COLLATE "C" NOT NULL,
    calls BIGINT NOT NULL,
    errors BIGINT NOT NULL,
    received BIGINT NOT NULL,
    sent BIGINT NOT NULL,
    micros BIGINT NOT NULL,
    PRIMARY KEY (day, owner, key_id, method)
);

CREATE TABLE webhook_checkpoint (
    id SMALLINT NOT NULL,
    position BIGINT NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT one_row CHECK (id = 1)
);

CREATE TABLE webhooks (
    webhook_key TEXT COLLATE "C" NOT NULL,
    owner TEXT NOT NULL,
    webhook_id TEXT COLLATE "C" NOT NULL,
    state TEXT NOT NULL,
    request_id TEXT,
    webhook TEXT NOT NULL,
    PRIMARY KEY (webhook_key),
    CONSTRAINT state_known CHECK (state IN ('ACTIVE', 'DISABLED', 'PAUSED'))
);

CREATE TABLE workers (
    owner TEXT COLLATE "C" NOT NULL,
    worker TEXT COLLATE "C" NOT NULL,
    kinds TEXT NOT NULL,
    served TEXT NOT NULL,
    first_seen_time BIGINT NOT NULL,
    last_seen_time BIGINT NOT NULL,
    version TEXT NOT NULL,
    host TEXT NOT NULL,
    PRIMARY KEY (owner, worker)
);

CREATE TABLE deliveries (
    webhook_key TEXT COLLATE "C" NOT NULL,
    position BIGINT NOT NULL,
    ordinal INTEGER NOT NULL,
    job_key TEXT COLLATE "C" NOT NULL,
    event_type TEXT NOT NULL,
    body BYTEA NOT NULL,
    state TEXT NOT NULL,
    attempts TEXT NOT NULL,
    attempt_count INTEGER NOT NULL,
    tries INTEGER NOT NULL,
    first_attempt_time BIGINT,
    next_attempt_time BIGINT,
    locked_until BIGINT,
    create_time BIGINT NOT NULL,
    end_time BIGINT,
    PRIMARY KEY (webhook_key, position, ordinal),
    CONSTRAINT state_known CHECK (state IN ('PENDING', 'DELIVERED', 'DEAD')),
    CONSTRAINT end_time_when_ended CHECK ((end_time IS NULL) = (state = 'PENDING')),
    CONSTRAINT next_attempt_when_pending CHECK (next_attempt_time IS NULL OR state = 'PENDING'),
    CONSTRAINT attempts_not_negative CHECK (attempt_count >= 0 AND tries >= 0),
    FOREIGN KEY(webhook_key) REFERENCES webhooks (webhook_key) ON DELETE CASCADE
);

CREATE TABLE job_words (
    number BIGINT GENERATED BY DEFAULT AS IDENTITY,
    job_key TEXT COLLATE "C" NOT NULL,
    words TEXT NOT NULL,
    PRIMARY KEY (number),
    UNIQUE (job_key),
    FOREIGN KEY(job_key) REFERENCES jobs (job_key) ON DELETE CASCADE
);

CREATE TABLE requests (
    request_key TEXT COLLATE "C" NOT NULL,
    job_key TEXT COLLATE "C",
    fingerprint BYTEA NOT NULL,
    leases BYTEA NOT NULL,
    expire_time BIGINT NOT NULL,
    PRIMARY KEY (request_key),
    FOREIGN KEY(job_key) REFERENCES jobs (job_key) ON DELETE CASCADE
);

CREATE TABLE runs (
    job_key TEXT COLLATE "C" NOT NULL,
    run TEXT NOT NULL,
    PRIMARY KEY (job_key),
    FOREIGN KEY(job_key) REFERENCES jobs (job_key) ON DELETE CASCADE
);

CREATE TABLE unique_keys (
    unique_key TEXT COLLATE "C" NOT NULL,
    job_key TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (unique_key),
    UNIQUE (job_key),
    FOREIGN KEY(job_key) REFERENCES jobs (job_key) ON DELETE CASCADE
);

CREATE UNIQUE INDEX api_keys_by_change ON api_keys (change);

CREATE UNIQUE INDEX api_keys_by_digest ON api_keys (digest);

CREATE UNIQUE INDEX api_keys_by_request ON api_keys (request_key);

CREATE INDEX api_keys_by_time ON api_keys (create_time, key_id);

CREATE INDEX artifact_removals_by_removal ON artifact_removals (removal_key);

CREATE INDEX attempts_by_task ON attempts (task_id, job_key) WHERE task_id != '';

CREATE INDEX attempts_by_time ON attempts (job_key, attempt_end_time);

CREATE INDEX audit_by_owner ON audit (split_part(job_key, '/', 1), position, changes);

CREATE INDEX audit_by_position ON audit (position, commit_time, changes);

CREATE INDEX chunks_by_task ON chunks (owner, task_id, job_key) WHERE task_id != '';

CREATE INDEX chunks_delayed ON chunks (next_attempt_time) WHERE next_attempt_time IS NOT NULL;

CREATE INDEX chunks_leased ON chunks (lease_check_time) WHERE state = 'PROCESSING';

CREATE INDEX chunks_of_workers ON chunks (worker, owner) WHERE state = 'PROCESSING';

CREATE INDEX chunks_waiting ON chunks (owner, kind, priority DESC, create_time, job_key, chunk_index) WHERE state = 'PENDING' AND held = 0;

CREATE INDEX counts_by_size ON counts (state, size DESC, kind) WHERE size > 0;

CREATE INDEX deliveries_dead ON deliveries (webhook_key, position, ordinal) WHERE state = 'DEAD';

CREATE INDEX deliveries_ended ON deliveries (end_time) WHERE end_time IS NOT NULL;

CREATE INDEX deliveries_pending ON deliveries (create_time) WHERE state = 'PENDING';

CREATE INDEX deliveries_pending_of_job ON deliveries (webhook_key, job_key, position, ordinal) WHERE state = 'PENDING';

CREATE INDEX deliveries_scheduled ON deliveries (webhook_key, next_attempt_time) WHERE next_attempt_time IS NOT NULL;

CREATE INDEX events_by_job ON events (job_key, position);

CREATE INDEX events_by_owner ON events (split_part(job_key, '/', 1), position, changes);

CREATE INDEX failures_by_hour ON failures (hour);

CREATE INDEX job_labels_by_end_time ON job_labels (index_number, owner, digest, state, end_time, create_time, job_key) WHERE end_time IS NOT NULL;

CREATE INDEX job_labels_by_priority ON job_labels (index_number, owner, digest, priority, create_time, job_key);

CREATE INDEX job_labels_by_state ON job_labels (index_number, owner, digest, state, create_time, job_key);

CREATE INDEX job_words_search ON job_words USING gin (array_to_tsvector(string_to_array(words, ' '))) WITH (gin_pending_list_limit = 256);

CREATE INDEX jobs_by_create_time ON jobs (owner, create_time, job_key);

CREATE INDEX jobs_by_end_time ON jobs (owner, state, end_time, create_time, job_key) WHERE end_time IS NOT NULL;

CREATE INDEX jobs_by_kind ON jobs (owner, kind, state, create_time, job_key);

CREATE INDEX jobs_by_priority ON jobs (owner, state, priority, create_time, job_key);

CREATE INDEX jobs_by_state ON jobs (owner, state, create_time, job_key);

CREATE INDEX jobs_by_update_time ON jobs (owner, state, update_time, create_time, job_key);

CREATE INDEX jobs_claimable ON jobs (kind, priority, owner) WHERE claimable = 1 AND (kind NOT IN ('jobledger.artifacts', 'jobledger.bulk'));

CREATE INDEX jobs_ending ON jobs (deadline) WHERE deadline IS NOT NULL;

CREATE INDEX jobs_expiring ON jobs (expire_time) WHERE expire_time IS NOT NULL;

CREATE INDEX jobs_parked ON jobs (parked_for, priority DESC, create_time, job_key) WHERE parked_for != '';

CREATE INDEX jobs_scheduled ON jobs (held_until) WHERE held_until IS NOT NULL;

CREATE INDEX jobs_waiting ON jobs (kind, coalesce(retry_time, schedule_time, create_time)) WHERE state = 'QUEUED' AND parked_for = '' AND held_until IS NULL;

CREATE INDEX limits_free ON limits (limit_key) WHERE waiting > 0 AND (max_running IS NULL OR running < max_running);

CREATE INDEX limits_paused ON limits (limit_key) WHERE max_running = 0;

CREATE INDEX limits_spreading ON limits (limit_key) WHERE values_through IS NOT NULL;

CREATE INDEX limits_unused ON limits (limit_key) WHERE NOT is_set AND running = 0 AND waiting = 0 AND values_through IS NULL;

CREATE INDEX requests_by_job ON requests (job_key) WHERE job_key IS NOT NULL;

CREATE INDEX requests_by_time ON requests (expire_time);

CREATE INDEX running_totals_by_hour ON running_totals (hour);

CREATE INDEX tombstones_by_create_time ON tombstones (owner, create_time, job_key, position);

CREATE INDEX tombstones_by_job ON tombstones (job_key, position, uid);

CREATE INDEX webhooks_by_owner ON webhooks (owner, webhook_id);

CREATE UNIQUE INDEX webhooks_by_request ON webhooks (owner, request_id);

CREATE INDEX workers_by_time ON workers (last_seen_time);

CREATE INDEX workers_of_fleets ON workers (owner, worker) WHERE served != '';

CREATE INDEX chunks_of_service ON chunks (owner, kind, create_time) WHERE state = 'PENDING' AND held = 0 AND kind IN ('jobledger.artifacts', 'jobledger.bulk');

INSERT INTO webhook_checkpoint (id, position) VALUES (1, 0);
