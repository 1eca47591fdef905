-- What happened in a series of nights, as events: nights, baselines, bridges, anchors, messages.
CREATE TABLE series_events (
  id INTEGER PRIMARY KEY CHECK (id > 0),
  series TEXT NOT NULL,
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  body TEXT NOT NULL,
  created_at TEXT NOT NULL,
  UNIQUE (series, kind, name)
) STRICT;

CREATE TRIGGER series_events_no_update BEFORE UPDATE ON series_events
BEGIN SELECT RAISE(ABORT, 'series_events is append-only'); END;
CREATE TRIGGER series_events_no_delete BEFORE DELETE ON series_events
BEGIN SELECT RAISE(ABORT, 'series_events is append-only'); END;
CREATE TRIGGER series_events_no_replace BEFORE INSERT ON series_events
WHEN EXISTS (SELECT 1 FROM series_events WHERE id = NEW.id OR (
    series = NEW.series AND kind = NEW.kind AND name = NEW.name
  ))
BEGIN SELECT RAISE(IGNORE); END;
