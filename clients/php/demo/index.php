<?php

declare(strict_types=1);

require __DIR__ . '/config.php';

use Relay\Exception\InvalidOption;

try {
    $relay = page_url();
} catch (InvalidOption $error) {
    http_response_code(400);
    header('Content-Type: text/plain; charset=utf-8');
    exit($error->getMessage() . "\n");
}

// Scripts, styles and connections of this page and its relay, and nothing else from anywhere.
header("Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; "
    . "connect-src 'self' $relay; base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
header('X-Content-Type-Options: nosniff');
header('Referrer-Policy: no-referrer');
header('Content-Type: text/html; charset=utf-8');

$escape = static fn (string $text): string => htmlspecialchars($text, ENT_QUOTES | ENT_SUBSTITUTE, 'UTF-8');
?>
<!doctype html>
<html lang="en" data-relay="<?= $escape($relay . $relay->target) ?>">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>relay demo</title>
<link rel="icon" href="data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Ccircle cx='4' cy='8' r='3' fill='%235b5bd6'/%3E%3Ccircle cx='12' cy='8' r='3' fill='%2312a594'/%3E%3C/svg%3E">
<link rel="stylesheet" href="style.css">
<script type="module" src="demo.js"></script>
</head>
<body>
<header>
  <h1><span class="mark" aria-hidden="true"></span>relay <small>demo</small></h1>
  <p class="status" id="status" data-status="connecting" role="status"><span id="status-text">connecting</span></p>
</header>
<main>
  <section class="card work" aria-labelledby="work-title">
    <div class="head">
      <div>
        <h2 id="work-title">The yearly report</h2>
        <p class="lead">A PHP script on the server adds up twelve months. While it works, it reports to
          the page that started it, and to no other.</p>
      </div>
      <output class="percent" id="percent">0<small>%</small></output>
    </div>
    <div class="bar" id="bar" role="progressbar" aria-labelledby="work-title" aria-valuemin="0" aria-valuemax="100" aria-valuenow="0"><i id="fill"></i></div>
    <p class="text" id="text">Nothing is running.</p>
    <div class="actions">
      <button class="primary" id="start" type="button">Start the work</button>
      <button id="second" type="button">Open a second window</button>
    </div>
    <ol class="way" aria-label="The way of a report">
      <li id="node-page"><b>this page</b><span id="name">&nbsp;</span></li>
      <li id="node-work"><b>work.php</b><span>php</span></li>
      <li id="node-relay"><b>relay</b><span><?= $escape($relay->authority()) ?></span></li>
      <li id="node-back"><b>this page</b><span>by its uuid</span></li>
    </ol>
  </section>
  <section class="card" aria-labelledby="all-title">
    <h2 id="all-title">To all pages</h2>
    <p class="lead">A broadcast reaches every other window. Open a second one and try.</p>
    <form id="say" autocomplete="off">
      <label class="hidden" for="message">Message to all other pages</label>
      <input id="message" name="message" maxlength="200" placeholder="Say something" required>
      <button type="submit">Send</button>
    </form>
    <blockquote class="heard" id="heard" hidden><p id="heard-text"></p><footer id="heard-from"></footer></blockquote>
  </section>
  <section class="card log" aria-labelledby="log-title">
    <div class="head"><h2 id="log-title">What this page hears</h2><button class="quiet" id="clear" type="button">Clear</button></div>
    <ol id="log" role="log" aria-live="polite"><li class="empty">Nothing yet.</li></ol>
  </section>
</main>
<footer>Reports come over <code><?= $escape((string) $relay) ?></code>. The uuid of this page is its secret: who knows it can report to it.</footer>
</body>
</html>
