-- Requests that go without a ticket of their own are counted: Charge in gate.go.
--
-- ARGV[5] is how many there are.

P.load('')
P.limit()
P.fill(P.now, 0)
P.bucket.tokens = max(-OWED * TOKEN, P.bucket.tokens - tonumber(ARGV[5]) * TOKEN)
P.save()
return 1
