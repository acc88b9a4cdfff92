ALTER TABLE missions ADD COLUMN price decimal(9, 2);
UPDATE missions SET price = 12.5;
