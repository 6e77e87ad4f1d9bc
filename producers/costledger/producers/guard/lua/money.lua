-- Exact integers. Lua's numbers are doubles, exact up to 2^53 (9007 USD in 1e-12 USD): an amount is a pair
-- {high, low} = high * 1e9 + low with 0 <= low < 1e9, exact up to 24 digits, and goes in and out as text.
local BASE = 1000000000

local function amount_of(text)
  local sign, digits = string.match(text, '^(%-?)(%d+)$')
  if not digits or #digits > 24 then error('not an amount of at most 24 digits: ' .. text) end
  local high = tonumber(string.sub(digits, 1, -10)) or 0
  local low = tonumber(string.sub(digits, -9))
  if sign == '' then return {high, low} end
  if low == 0 then return {0 - high, 0} end
  return {0 - high - 1, BASE - low}
end

local function plus(a, b)
  local high, low = a[1] + b[1], a[2] + b[2]
  if low >= BASE then return {high + 1, low - BASE} end
  return {high, low}
end

local function minus(a, b)
  local high, low = a[1] - b[1], a[2] - b[2]
  if low < 0 then return {high - 1, low + BASE} end
  return {high, low}
end

local function exceeds(a, b)
  if a[1] ~= b[1] then return a[1] > b[1] end
  return a[2] > b[2]
end

local function text_of(a)
  local high, low, sign = a[1], a[2], ''
  if high < 0 then
    sign = '-'
    if low == 0 then high = 0 - high else high, low = 0 - high - 1, BASE - low end
  end
  if high == 0 then return sign .. string.format('%.0f', low) end
  return sign .. string.format('%.0f%09.0f', high, low)
end
