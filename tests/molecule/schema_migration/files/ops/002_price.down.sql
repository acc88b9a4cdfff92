ALTER TABLE missions DROP COLUMN price;
