-- Objects of many kinds, each written so that a dump writes it otherwise where it can.
CREATE SCHEMA "odd name"; CREATE EXTENSION btree_gist; CREATE EXTENSION pg_trgm SCHEMA "odd name";
CREATE TYPE mood AS ENUM ('sad', 'it''s'); CREATE DOMAIN positive AS integer CHECK (VALUE > 0) DEFAULT 1;
CREATE TYPE pair AS (one text, two positive); CREATE SEQUENCE alone START 7 INCREMENT 3;
CREATE TABLE "odd name"."A Table" (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, m mood DEFAULT 'sad', p pair,
  double integer GENERATED ALWAYS AS (2 * 3) STORED, at timestamptz DEFAULT now(), during tstzrange,
  words text COLLATE "C" NOT NULL DEFAULT '', EXCLUDE USING gist (during WITH &&), CHECK (words LIKE 'a%' OR words IN ('b', '')));
INSERT INTO "odd name"."A Table" (p, words) VALUES (('x', 2), 'abc'), (NULL, E'a\tb');
CREATE TABLE parts (id serial, day date NOT NULL, ref bigint REFERENCES "odd name"."A Table" ON DELETE SET NULL DEFERRABLE,
  PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE TABLE parts_rest PARTITION OF parts DEFAULT; CREATE INDEX by_ref ON parts (ref) WHERE ref > 0;
INSERT INTO parts (day, ref) VALUES ('2026-05-05', 1), ('1999-01-01', NULL);
CREATE TABLE parent (a int, gone int); CREATE TABLE child (b float8 DEFAULT 0.1) INHERITS (parent);
ALTER TABLE parent DROP COLUMN gone; ALTER TABLE child ALTER b SET STATISTICS 50, ADD CHECK (a > 0) NOT VALID;
INSERT INTO child VALUES (1, 'NaN'), (2, 1e-300);
CREATE INDEX grams ON "odd name"."A Table" USING gin (words "odd name".gin_trgm_ops);
CREATE UNIQUE INDEX lowered ON "odd name"."A Table" (lower(words)) INCLUDE (at);
CREATE MATERIALIZED VIEW kept AS SELECT m, count(*) FROM "odd name"."A Table" GROUP BY m WITH DATA;
CREATE MATERIALIZED VIEW empty AS SELECT 1 AS x WITH NO DATA;
CREATE VIEW seen WITH (security_barrier) AS SELECT p.*, t.words FROM parts p LEFT JOIN "odd name"."A Table" t ON t.id = ref
  WHERE t.words = ANY (ARRAY['a'::varchar, 'b']) OR (day > '2026-01-01' AND NOT EXISTS (SELECT FROM child));
CREATE RULE nothing AS ON DELETE TO seen DO INSTEAD NOTHING;
CREATE FUNCTION plus(integer, integer) RETURNS integer LANGUAGE sql IMMUTABLE BEGIN ATOMIC SELECT $1 + $2; END;
CREATE AGGREGATE total (integer) (sfunc = plus, stype = integer, initcond = '0');
CREATE OPERATOR <%> (leftarg = integer, rightarg = integer, function = plus);
CREATE PROCEDURE act(IN a text DEFAULT 'x;y') LANGUAGE plpgsql AS $p$ BEGIN PERFORM 1; COMMIT; END $p$;
ALTER TABLE parent ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON parent FOR SELECT USING (a IN (1, 2) AND current_user <> 'x'); CREATE STATISTICS of_child ON a, b FROM child;
CREATE FUNCTION t() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER ticks BEFORE UPDATE OF words ON "odd name"."A Table" FOR EACH ROW WHEN (NEW.words <> '') EXECUTE FUNCTION t();
ALTER TABLE "odd name"."A Table" DISABLE TRIGGER ticks; CREATE PUBLICATION pub FOR TABLE parent, ONLY child;
COMMENT ON TABLE parent IS 'says; something'; COMMENT ON COLUMN child.b IS 'b'; COMMENT ON TRIGGER ticks ON "odd name"."A Table" IS 't';
GRANT SELECT (a), UPDATE ON parent TO nobody; REVOKE EXECUTE ON FUNCTION plus FROM PUBLIC;
ALTER TABLE child SET (fillfactor = 70), REPLICA IDENTITY FULL; CREATE UNLOGGED TABLE quick (x bytea);
INSERT INTO quick VALUES ('\x00ff');
