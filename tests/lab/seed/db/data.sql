-- The school's ordinary rows, the same for the same seed and scale. Variables: seed, scale.
begin;
set role courses;
insert into app.students (id, name, email, born, locale, settings)
select i,
       (array['Amina','Léa','Idir','Chloé','Yacine','Noé','Tanirt','Hugo','Zoé','Malik'])[1 + i % 10] || ' '
           || (array['Benali','Martin','Aït-Kaci','Roux','O''Connor','Nguyễn','دريس','Lefèvre'])[1 + i % 8],
       'student' || i || '@techcorp.test',
       date '1985-01-01' + (i * 37 % 9000),
       (array['fr','fr','fr','ar','ber','en'])[1 + i % 6],
       jsonb_build_object('theme', i % 3, 'mail', i % 2 = 0, 'key', md5(:'seed' || i))
from generate_series(1, 12000 * :scale) as i;
select setval(pg_get_serial_sequence('app.students', 'id'), 12000 * :scale);

insert into app.courses (id, title, teacher, summary, price, tags, published)
select i,
       'Course ' || i || ': ' || (array['Algèbre','Réseaux','Histoire','Chimie','Python','Droit'])[1 + i % 6],
       (array['Mme Faure','M. Amrouche','Dr Weiss','Mme Idrissi'])[1 + i % 4],
       repeat('Lecture ' || i || ', ' || md5(:'seed' || 'c' || i) || '. ', 8),
       (i * 7 % 200) + 0.90,
       array['level-' || i % 5, (array['été','hiver'])[1 + i % 2]],
       timestamptz '2024-09-01 08:00:00+00' + i * interval '7 hours'
from generate_series(1, 120) as i;

insert into app.logins (id, student, at, client)
select md5(:'seed' || 'login' || i)::uuid, 1 + i % (12000 * :scale),
       timestamptz '2025-01-01 00:00:00.123456+00' + i * interval '97 seconds', 'seed'
from generate_series(1, 60000 * :scale) as i;

insert into app.progress (id, student, course, percent, at)
select md5(:'seed' || 'progress' || i)::uuid, 1 + i * 31 % (12000 * :scale), 1 + i % 120, i * 13 % 101,
       timestamptz '2025-01-01 00:00:00+00' + i * interval '61.5 seconds'
from generate_series(1, 100000 * :scale) as i;

-- The file seeder writes the very same bytes below uploads/.
insert into app.uploads (id, path, sha256, at)
select id, 'uploads/' || id,
       encode(sha256(convert_to(repeat('upload ' || id || E'\n', 64), 'UTF8')), 'hex'),
       timestamptz '2025-02-01 00:00:00+00' + i * interval '1 hour'
from (select i, md5('upload' || i)::uuid as id from generate_series(1, 200) as i) as seeded;
commit;
