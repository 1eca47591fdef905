-- What kind of score a verdict gives, and what log-probabilities said about it.
ALTER TABLE verdicts ADD COLUMN kind TEXT NOT NULL DEFAULT 'samples';
ALTER TABLE verdicts ADD COLUMN allowed_mass REAL CHECK (allowed_mass BETWEEN 0 AND 1);
ALTER TABLE verdicts ADD COLUMN sd REAL CHECK (sd >= 0);

-- What happened to batches of requests at a server, as events: submitted, collected, failed, ...
CREATE TABLE batches (
  id INTEGER PRIMARY KEY CHECK (id > 0),
  batch TEXT NOT NULL,
  model TEXT NOT NULL,
  status TEXT NOT NULL,
  body TEXT NOT NULL,
  created_at TEXT NOT NULL
) STRICT;
CREATE INDEX batches_by_model ON batches (model);

-- What people decided about answers that were put before them.
CREATE TABLE reviews (
  id INTEGER PRIMARY KEY CHECK (id > 0),
  escalation BLOB NOT NULL CHECK (length(escalation) = 16),
  decision TEXT NOT NULL,
  reviewer TEXT NOT NULL,
  note TEXT NOT NULL,
  created_at TEXT NOT NULL
) STRICT;

CREATE TRIGGER batches_no_update BEFORE UPDATE ON batches
BEGIN SELECT RAISE(ABORT, 'batches is append-only'); END;
CREATE TRIGGER batches_no_delete BEFORE DELETE ON batches
BEGIN SELECT RAISE(ABORT, 'batches is append-only'); END;
CREATE TRIGGER batches_no_replace BEFORE INSERT ON batches
WHEN EXISTS (SELECT 1 FROM batches WHERE id = NEW.id)
BEGIN SELECT RAISE(IGNORE); END;
CREATE TRIGGER reviews_no_update BEFORE UPDATE ON reviews
BEGIN SELECT RAISE(ABORT, 'reviews is append-only'); END;
CREATE TRIGGER reviews_no_delete BEFORE DELETE ON reviews
BEGIN SELECT RAISE(ABORT, 'reviews is append-only'); END;
CREATE TRIGGER reviews_no_replace BEFORE INSERT ON reviews
WHEN EXISTS (SELECT 1 FROM reviews WHERE id = NEW.id)
BEGIN SELECT RAISE(IGNORE); END;
