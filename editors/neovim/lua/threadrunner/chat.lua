-- :ThreadRunner — a conversation in a scratch buffer, streamed; and rewriting lines by instruction.

local M = {}

local buffer, running
local history = {}
local streams = 0

local function window()
  if not (buffer and vim.api.nvim_buf_is_valid(buffer)) then
    buffer = vim.api.nvim_create_buf(false, true)
    vim.api.nvim_buf_set_name(buffer, 'ThreadRunner')
    vim.bo[buffer].filetype = 'markdown'
    vim.bo[buffer].bufhidden = 'hide'
    history = {}
  end
  local open = vim.fn.bufwinid(buffer)
  if open == -1 then
    vim.cmd('botright vertical sbuffer ' .. buffer)
    vim.wo.wrap, vim.wo.linebreak = true, true
    vim.cmd.wincmd('p')
    open = vim.fn.bufwinid(buffer)
  end
  return open
end

local function append(text)
  if not (buffer and vim.api.nvim_buf_is_valid(buffer)) then
    return
  end
  local last = vim.api.nvim_buf_line_count(buffer) - 1
  local column = #vim.api.nvim_buf_get_lines(buffer, last, last + 1, false)[1]
  vim.api.nvim_buf_set_text(buffer, last, column, last, column, vim.split(text, '\n', { plain = true }))
  local open = vim.fn.bufwinid(buffer)
  if open ~= -1 then
    vim.api.nvim_win_set_cursor(open, { vim.api.nvim_buf_line_count(buffer), 0 })
  end
end

function M.token(params)
  if running and params.stream == running.stream then
    append(params.text)
  end
end

local function span(client, args)
  local last = vim.api.nvim_buf_get_lines(0, args.line2 - 1, args.line2, false)[1] or ''
  return {
    start = { line = args.line1 - 1, character = 0 },
    ['end'] = { line = args.line2 - 1, character = vim.str_utfindex(last, client.offset_encoding) },
  }
end

local function ask(client, args)
  M.stop()
  window()
  streams = streams + 1
  history[#history + 1] = { role = 'user', content = args.args }
  local asked = { messages = vim.deepcopy(history), stream = streams }
  if args.range > 0 then
    asked.uri = vim.uri_from_bufnr(0)
    asked.range = span(client, args)
  end
  append('## ' .. args.args .. '\n\n')
  local _, id = client:request('workspace/executeCommand', {
    command = 'threadrunner.chat',
    arguments = { asked },
  }, function(problem, result)
    running = nil
    if problem then
      append('\n*' .. problem.message .. '*\n\n')
    else
      history[#history + 1] = { role = 'assistant', content = result.text }
      append('\n\n')
    end
    vim.api.nvim_exec_autocmds('User', { pattern = 'ThreadRunnerAnswered', modeline = false })
  end)
  running = { client = client, id = id, stream = streams }
end

function M.stop()
  if running then
    running.client:cancel_request(running.id)
    running = nil
  end
end

function M.command(args)
  local client = vim.lsp.get_clients({ name = 'threadrunner' })[1]
  if not client then
    return vim.notify('ThreadRunner: no server runs; open a file, or see :checkhealth vim.lsp', vim.log.levels.WARN)
  end
  local verb, instruction = args.args:match('^(%S*)%s*(.*)$')
  if verb == '' then
    window()
  elseif verb == 'stop' and instruction == '' then
    M.stop()
  elseif verb == 'status' and instruction == '' then
    client:request('threadrunner/status', vim.empty_dict(), function(_, result)
      vim.notify(vim.inspect(result))
    end)
  elseif verb == 'rewrite' and instruction ~= '' then
    client:request('workspace/executeCommand', {
      command = 'threadrunner.rewrite',
      arguments = { vim.uri_from_bufnr(0), span(client, args), instruction },
    }, function(problem)
      if problem then
        vim.notify('ThreadRunner: ' .. problem.message, vim.log.levels.WARN)
      end
      vim.api.nvim_exec_autocmds('User', { pattern = 'ThreadRunnerAnswered', modeline = false })
    end)
  else
    ask(client, args)
  end
end

return M
