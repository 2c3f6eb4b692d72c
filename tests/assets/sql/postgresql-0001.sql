CREATE TABLE f1mon_alembic_version (
    version_num character varying(32) NOT NULL
);
CREATE TABLE f1mon_alerts (
    alert_id character varying NOT NULL COLLATE pg_catalog."C",
    at bigint NOT NULL,
    at_given smallint NOT NULL,
    recorded_at bigint NOT NULL,
    v integer NOT NULL,
    severity character varying NOT NULL COLLATE pg_catalog."C",
    component character varying NOT NULL COLLATE pg_catalog."C",
    model_version character varying NOT NULL COLLATE pg_catalog."C",
    metric_name character varying NOT NULL COLLATE pg_catalog."C",
    rule_id character varying COLLATE pg_catalog."C",
    incident_id character varying COLLATE pg_catalog."C",
    content text NOT NULL
);
CREATE TABLE f1mon_attributes (
    kind character varying NOT NULL COLLATE pg_catalog."C",
    key_1 character varying NOT NULL COLLATE pg_catalog."C",
    key_2 character varying NOT NULL COLLATE pg_catalog."C",
    name character varying NOT NULL COLLATE pg_catalog."C",
    at bigint NOT NULL,
    value character varying NOT NULL COLLATE pg_catalog."C"
);
CREATE TABLE f1mon_facts (
    kind character varying NOT NULL COLLATE pg_catalog."C",
    key_1 character varying NOT NULL COLLATE pg_catalog."C",
    key_2 character varying NOT NULL COLLATE pg_catalog."C",
    at bigint NOT NULL,
    at_given smallint NOT NULL,
    recorded_at bigint NOT NULL,
    v integer NOT NULL,
    content text NOT NULL
);
CREATE TABLE f1mon_features (
    prediction_id character varying NOT NULL COLLATE pg_catalog."C",
    features text NOT NULL,
    metadata text NOT NULL
);
CREATE TABLE f1mon_horizons (
    kind character varying NOT NULL COLLATE pg_catalog."C",
    pruned_before bigint NOT NULL,
    outcomes_until bigint
);
CREATE TABLE f1mon_operations (
    operation character varying NOT NULL COLLATE pg_catalog."C",
    at bigint NOT NULL,
    result text NOT NULL
);
CREATE TABLE f1mon_outcomes (
    prediction_id character varying NOT NULL COLLATE pg_catalog."C",
    known_at bigint NOT NULL,
    at_given smallint NOT NULL,
    recorded_at bigint NOT NULL,
    actual_outcome bigint NOT NULL
);
CREATE TABLE f1mon_predictions (
    prediction_id character varying NOT NULL COLLATE pg_catalog."C",
    predicted_at bigint,
    at_given smallint DEFAULT '0'::smallint NOT NULL,
    recorded_at bigint,
    model_version character varying COLLATE pg_catalog."C",
    predicted_outcome bigint,
    confidence double precision,
    actual_outcome bigint,
    known_at bigint,
    first_known_at bigint,
    pruned smallint DEFAULT '0'::smallint NOT NULL
);
CREATE TABLE f1mon_state (
    state_key character varying NOT NULL COLLATE pg_catalog."C",
    document text,
    due bigint
);
INSERT INTO f1mon_alembic_version VALUES ('0001');
INSERT INTO f1mon_alerts VALUES ('a1', 1777636800000000, 0, 1777636800000000, 1, 'critical', 'model', 'podium-1', 'accuracy', 'r', NULL, '{"alert_id":"a1","severity":"critical","title":"Low accuracy","message":"0.5 < 0.7","metric_name":"accuracy","component":"model","model_version":"podium-1","metric_value":0.5,"threshold":0.7,"rule_id":"r"}');
INSERT INTO f1mon_alerts VALUES ('a2', 1777636800000000, 0, 1777636800000000, 1, 'info', 'model', 'podium-1', 'accuracy', NULL, NULL, '{"alert_id":"a2","severity":"info","title":"Two","message":"b","metric_name":"accuracy","component":"model","model_version":"podium-1"}');
INSERT INTO f1mon_attributes VALUES ('health_snapshot', 'h1', '', 'model_version', 1777636800000000, '"podium-1"');
INSERT INTO f1mon_attributes VALUES ('health_snapshot', 'h1', '', 'degradation_detected', 1777636800000000, 'false');
INSERT INTO f1mon_attributes VALUES ('health_snapshot', 'h1', '', 'trusted', 1777636800000000, 'true');
INSERT INTO f1mon_attributes VALUES ('acknowledgement', 'a2', '', 'by', 1777636800000000, '"kim"');
INSERT INTO f1mon_facts VALUES ('health_snapshot', 'h1', '', 1777636800000000, 0, 1777636800000000, 1, '{"model_version":"podium-1","metrics":{"accuracy":0.5},"snapshot_id":"h1"}');
INSERT INTO f1mon_facts VALUES ('rule_revision', 'r', '00000000000000000001', 1777636800000000, 0, 1777636800000000, 1, '{"rule_id":"r","revision":1,"definition":{"a":1}}');
INSERT INTO f1mon_facts VALUES ('acknowledgement', 'a2', '', 1777636800000000, 0, 1777636800000000, 1, '{"alert_id":"a2","by":"kim"}');
INSERT INTO f1mon_features VALUES ('race-1/Ünï', '{"grid":3,"wet":null,"weight":0.1}', '{"note":"\u0000 nul"}');
INSERT INTO f1mon_horizons VALUES ('', 0, NULL);
INSERT INTO f1mon_operations VALUES ('1966b84a360c23e1f7003e9933f217a5b4dc2eedb6d54c307fd8286614cb6339', 1777636800000000, '[1]');
INSERT INTO f1mon_outcomes VALUES ('early', 1777636800000000, 0, 1777636800000000, 1);
INSERT INTO f1mon_outcomes VALUES ('race-1/Ünï', 1777626000000000, 1, 1777636800000000, 1);
INSERT INTO f1mon_outcomes VALUES ('race-1/Ünï', 1777629600000000, 1, 1777636800000000, 0);
INSERT INTO f1mon_outcomes VALUES ('race-2', 1777636800000000, 0, 1777636800000000, 0);
INSERT INTO f1mon_predictions VALUES ('race-3', 1777636800000000, 0, 1777636800000000, 'podium-2', 1, 1, NULL, NULL, NULL, 0);
INSERT INTO f1mon_predictions VALUES ('race-1/Ünï', 1777550400000000, 1, 1777636800000000, 'podium-1', 1, 0.75, 0, 1777629600000000, 1777626000000000, 0);
INSERT INTO f1mon_predictions VALUES ('race-2', 1777546800000000, 1, 1777636800000000, 'podium-1', 0, 0.29, 0, 1777636800000000, 1777636800000000, 0);
INSERT INTO f1mon_predictions VALUES ('early', NULL, 0, NULL, NULL, NULL, NULL, 1, 1777636800000000, 1777636800000000, 0);
INSERT INTO f1mon_state VALUES ('incident/r', '{"n":1,"due":5,"holds":["a1"]}', 5);
INSERT INTO f1mon_state VALUES ('delivery/a1', '{"due":7}', 7);
ALTER TABLE ONLY f1mon_alembic_version
    ADD CONSTRAINT f1mon_alembic_version_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY f1mon_alerts
    ADD CONSTRAINT pk_f1mon_alerts PRIMARY KEY (alert_id);
ALTER TABLE ONLY f1mon_attributes
    ADD CONSTRAINT pk_f1mon_attributes PRIMARY KEY (kind, key_1, key_2, name);
ALTER TABLE ONLY f1mon_facts
    ADD CONSTRAINT pk_f1mon_facts PRIMARY KEY (kind, key_1, key_2);
ALTER TABLE ONLY f1mon_features
    ADD CONSTRAINT pk_f1mon_features PRIMARY KEY (prediction_id);
ALTER TABLE ONLY f1mon_horizons
    ADD CONSTRAINT pk_f1mon_horizons PRIMARY KEY (kind);
ALTER TABLE ONLY f1mon_operations
    ADD CONSTRAINT pk_f1mon_operations PRIMARY KEY (operation);
ALTER TABLE ONLY f1mon_outcomes
    ADD CONSTRAINT pk_f1mon_outcomes PRIMARY KEY (prediction_id, known_at);
ALTER TABLE ONLY f1mon_predictions
    ADD CONSTRAINT pk_f1mon_predictions PRIMARY KEY (prediction_id);
ALTER TABLE ONLY f1mon_state
    ADD CONSTRAINT pk_f1mon_state PRIMARY KEY (state_key);
CREATE INDEX ix_f1mon_alerts_at ON f1mon_alerts USING btree (at, alert_id);
CREATE INDEX ix_f1mon_alerts_rule ON f1mon_alerts USING btree (rule_id, at);
CREATE INDEX ix_f1mon_attributes_value ON f1mon_attributes USING btree (kind, name, value, at);
CREATE INDEX ix_f1mon_facts_at ON f1mon_facts USING btree (kind, at);
CREATE INDEX ix_f1mon_operations_at ON f1mon_operations USING btree (at);
CREATE INDEX ix_f1mon_outcomes_known_at ON f1mon_outcomes USING btree (known_at);
CREATE INDEX ix_f1mon_predictions_at ON f1mon_predictions USING btree (predicted_at);
CREATE INDEX ix_f1mon_predictions_model ON f1mon_predictions USING btree (model_version, predicted_at);
CREATE INDEX ix_f1mon_state_due ON f1mon_state USING btree (due);
