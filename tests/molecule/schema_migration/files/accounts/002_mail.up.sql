ALTER TABLE users ADD COLUMN mail text;
UPDATE users SET mail = lower(name) || '@example.org';
