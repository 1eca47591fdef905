-- What happened in a series of nights, as events: nights, baselines, bridges, anchors, messages.
CREATE TABLE series_events (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  series text NOT NULL,
  kind text NOT NULL,
  name text NOT NULL,
  body text NOT NULL,
  created_at text NOT NULL,
  UNIQUE (series, kind, name)
);

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON series_events
EXECUTE FUNCTION plumbline_append_only();
