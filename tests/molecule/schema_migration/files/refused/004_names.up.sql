INSERT INTO users VALUES (3, 'written before it fails', NULL);
ALTER TABLE users ADD CONSTRAINT short_names CHECK (length(name) < 3);
