-- Commands only; require('threadrunner').setup{} starts the rest.
if vim.g.loaded_threadrunner then
  return
end
vim.g.loaded_threadrunner = true

vim.api.nvim_create_user_command('ThreadRunner', function(args)
  require('threadrunner.chat').command(args)
end, {
  nargs = '*',
  range = true,
  desc = 'Ask the local model; with a range, about those lines. :ThreadRunner status, :ThreadRunner rewrite …',
  complete = function(lead)
    return vim.tbl_filter(function(word)
      return vim.startswith(word, lead)
    end, { 'status', 'rewrite', 'stop' })
  end,
})
