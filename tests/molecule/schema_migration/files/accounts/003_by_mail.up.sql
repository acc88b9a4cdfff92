-- bascule: no-transaction
CREATE INDEX CONCURRENTLY by_mail ON users (mail);
