-- Begin the state of a user who has none. ARGV from 10: '1' where the caller knows that there was one.
-- Returns the generation that the state now has.
if not is_known() then
  open((state.generation or ARGV[10] == '1') and '1' or '0')
  save()
end
return {state.generation}
